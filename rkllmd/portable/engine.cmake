# Shortens the build of llama-cpp-python to what the portable runtime needs: libllama and libggml.
#   CMAKE_ARGS="-DCMAKE_PROJECT_llama_cpp_INCLUDE=<absolute path of this file>" pip install '.[portable]'
# llama-cpp-python forces LLAMA_BUILD_COMMON on in the cache; a normal variable, set before, still wins (CMP0126).
set(LLAMA_BUILD_COMMON OFF)
set(LLAVA_BUILD OFF)
set(GGML_CCACHE OFF)

# For which processor (march.py, or what RKLLMD_MARCH says); "native" leaves it to ggml, which asks the compiler.
set(RKLLMD_MARCH "$ENV{RKLLMD_MARCH}")
if(NOT RKLLMD_MARCH)
    set(RKLLMD_MARCH native)
endif()
if(NOT RKLLMD_MARCH STREQUAL native)
    set(GGML_NATIVE OFF)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
        set(GGML_CPU_ARM_ARCH "${RKLLMD_MARCH}")
    else()
        foreach(feature SSE42 AVX AVX_VNNI AVX2 BMI2 AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16 FMA F16C)
            set(GGML_${feature} OFF)
        endforeach()
        add_compile_options("-march=${RKLLMD_MARCH}")
    endif()
endif()
message(STATUS "rkllmd: the engine is compiled for ${RKLLMD_MARCH}")
# Our own sources are compiled for the same one, and an engine that this machine can't run is refused.
file(WRITE "${CMAKE_BINARY_DIR}/rkllmd-march.txt" "${RKLLMD_MARCH}\n")
install(FILES "${CMAKE_BINARY_DIR}/rkllmd-march.txt" DESTINATION "${SKBUILD_PLATLIB_DIR}/llama_cpp/lib")

# A model architecture is a small file that includes everything: compiled together they take a fifth of the time. They
# only describe graphs, so optimising them hard buys nothing; the arithmetic is in ggml-cpu, which keeps its -O3.
function(rkllmd_shorten_llama)
    if(NOT TARGET llama)
        return()
    endif()
    set_target_properties(llama PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 24)
    target_compile_options(llama PRIVATE -O1)
endfunction()
cmake_language(DEFER CALL rkllmd_shorten_llama)
