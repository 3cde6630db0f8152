# Shortens the build of llama-cpp-python to what the portable runtime needs: libllama and libggml.
#   CMAKE_ARGS="-DCMAKE_PROJECT_llama_cpp_INCLUDE=<absolute path of this file>" pip install '.[portable]'
# llama-cpp-python forces LLAMA_BUILD_COMMON on in the cache; a normal variable, set before, still wins (CMP0126).
set(LLAMA_BUILD_COMMON OFF)
set(LLAVA_BUILD OFF)
set(GGML_CCACHE OFF)

# A model architecture is a small file that includes everything: compiled together they take a fifth of the time. They
# only describe graphs, so optimising them hard buys nothing; the arithmetic is in ggml-cpu, which keeps its -O3.
function(rkllmd_shorten_llama)
    set_target_properties(llama PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 24)
    target_compile_options(llama PRIVATE -O1)
endfunction()
cmake_language(DEFER CALL rkllmd_shorten_llama)
