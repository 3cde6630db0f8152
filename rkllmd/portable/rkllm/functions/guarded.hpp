// What every C function of this library does around its work: what goes wrong leaves as one line on stderr and -1.
#pragma once

#include "log.hpp"

#include <new>
#include <string>

namespace portable {

template <typename Body> auto guarded(const char *function, Body body) noexcept -> decltype(body()) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        log_error("%s: out of memory", function);
    } catch (const std::exception &error) {
        log_error("%s: %s", function, error.what());
    } catch (...) {
        log_error("%s: unknown error", function);
    }
    return -1;
}

inline void require(const void *pointer, const char *name) {
    if (!pointer) {
        throw Failure(std::string(name) + " is NULL");
    }
}

} // namespace portable
