// The live handles: a pointer that is none of them is refused, never followed.
#pragma once

#include "session.hpp"

#include <memory>

namespace portable {

LLMHandle add_handle(std::shared_ptr<Session> session);
std::shared_ptr<Session> session_of(LLMHandle handle); // throws a Failure if there is none
std::shared_ptr<Session> remove_handle(LLMHandle handle);

} // namespace portable
