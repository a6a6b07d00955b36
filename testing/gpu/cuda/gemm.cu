// Law: cuBLAS multiplies matrices of fixed numbers to the same bits every time, and right within rounding.
#include <cublas_v2.h>

#include <cmath>
#include <cstring>

#include "check.cuh"

#define CHECK_BLAS(call)                                                              \
  do {                                                                                \
    const cublasStatus_t status = (call);                                             \
    if (status != CUBLAS_STATUS_SUCCESS) {                                            \
      std::fprintf(stderr, "%s: cuBLAS status %d\n", #call, static_cast<int>(status)); \
      std::exit(1);                                                                   \
    }                                                                                 \
  } while (false)

namespace {

cublasStatus_t Gemm(cublasHandle_t blas, int n, const float* a, const float* b, float* c) {
  const float one = 1, zero = 0;
  return cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, a, n, b, n, &zero, c, n);
}

cublasStatus_t Gemm(cublasHandle_t blas, int n, const double* a, const double* b, double* c) {
  const double one = 1, zero = 0;
  return cublasDgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, a, n, b, n, &zero, c, n);
}

// Column by column, as cuBLAS has them.
template <typename T>
double Entry(const std::vector<T>& a, const std::vector<T>& b, int n, int row, int column) {
  double sum = 0;
  for (int k = 0; k < n; ++k)
    sum += static_cast<double>(a[row + static_cast<size_t>(k) * n]) * b[k + static_cast<size_t>(column) * n];
  return sum;
}

template <typename T>
void Multiply(cublasHandle_t blas, const char* what, int n, double tolerance) {
  const size_t count = static_cast<size_t>(n) * n, size = count * sizeof(T);
  const std::vector<T> a = Numbers<T>(count, 1), b = Numbers<T>(count, 2);
  std::vector<T> c(count);
  T *device_a, *device_b, *device_c;
  CHECK(cudaMalloc(&device_a, size));
  CHECK(cudaMalloc(&device_b, size));
  CHECK(cudaMalloc(&device_c, size));
  CHECK(cudaMemcpy(device_a, a.data(), size, cudaMemcpyHostToDevice));
  CHECK(cudaMemcpy(device_b, b.data(), size, cudaMemcpyHostToDevice));
  CHECK_BLAS(Gemm(blas, n, device_a, device_b, device_c));
  CHECK(cudaMemcpy(c.data(), device_c, size, cudaMemcpyDeviceToHost));
  for (int i = 0; i < n; i += 97) {
    const double expected = Entry(a, b, n, i, n - 1 - i);
    if (std::fabs(c[i + static_cast<size_t>(n - 1 - i) * n] - expected) > tolerance) {
      std::fprintf(stderr, "%s %d: entry %d is %g, %g is right\n", what, n, i,
                   static_cast<double>(c[i + static_cast<size_t>(n - 1 - i) * n]), expected);
      std::exit(1);
    }
  }
  std::printf("%s %d: %016llx\n", what, n, static_cast<unsigned long long>(Checksum(c)));
  CHECK(cudaFree(device_a));
  CHECK(cudaFree(device_b));
  CHECK(cudaFree(device_c));
}

}  // namespace

int main() {
  CHECK(cudaFree(nullptr));  // the runtime library says here whether it goes with the driver
  cublasHandle_t blas;
  CHECK_BLAS(cublasCreate(&blas));
  CHECK_BLAS(cublasSetMathMode(blas, CUBLAS_PEDANTIC_MATH));
  for (int n : {64, 500, 1024, 2048}) {
    Multiply<float>(blas, "sgemm", n, 1e-2);
    Multiply<double>(blas, "dgemm", n, 1e-9);
  }
  CHECK_BLAS(cublasDestroy(blas));
  return 0;
}
