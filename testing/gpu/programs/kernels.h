// The kernels of the kit, as text that the driver compiles for the GPU at hand: sm_50 is the oldest that the
// compilers of all supported drivers take, and every data centre GPU since is newer. Each kernel uses one
// item per thread and looks where `count` ends.
#ifndef TESTING_GPU_PROGRAMS_KERNELS_H_
#define TESTING_GPU_PROGRAMS_KERNELS_H_

// vector_add(left, right, sum, count): sum[i] = left[i] + right[i], of float.
// mix(values, count, rounds): values[i] = values[i] * 1664525 + 1013904223, `rounds` times, of uint32_t.
// touch(values, count, step): values[i] += step, of uint32_t.
// exchange(values, results, count, arrived): a cooperative launch. values[i] = 3 * i; then every thread waits
//   until all have come so far, counted in *arrived, which is zero before; then results[i] =
//   values[count-1-i]. Needs one thread for each item, all resident.
// store(address, value): one thread stores, wherever that is.
// wait_for(flag, done): one thread sets *done to 1 once it sees *flag not zero, which is memory of the host;
// it
//   gives up after 2^28 looks, so that no mistake keeps the GPU busy for ever.
// nothing(): is launched.
extern const char kKernels[];

#endif  // TESTING_GPU_PROGRAMS_KERNELS_H_
