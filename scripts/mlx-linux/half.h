// Read by bindgen ahead of mlx-c's headers. mlx-c declares its half-precision
// calls for Arm only; mlx-rs needs them on every platform. The
// bindings define float16_t as a one-field struct and leave bfloat16_t a plain
// u16, which are the shapes mlx-rs reads.
#define HAS_FLOAT16
#define HAS_BFLOAT16
typedef unsigned short float16_t;
typedef unsigned short bfloat16_t;
