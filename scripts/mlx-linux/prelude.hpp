// Included ahead of every mlx-c source, so that mlx-c 0.7 builds with GCC 12 on x86-64.
#pragma once

// mlx-c uses std::format without including <format>, which GCC 12 does not have.
#if __has_include(<format>)
#include <format>
#else
#define FMT_HEADER_ONLY
#include <fmt/format.h>
namespace std {
using fmt::format;
}
#endif

// mlx-c compiles its half-precision calls for Arm only. MLX's own 16-bit types
// have the same layout and let the same sources build here.
#include <mlx/mlx.h>
#define HAS_FLOAT16
#define HAS_BFLOAT16
using float16_t = mlx::core::float16_t;
using bfloat16_t = mlx::core::bfloat16_t;
