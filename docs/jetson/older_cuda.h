/* Lets the CUDA runtime of TVM 0.27 compile with CUDA 11.4 to 12.7: build_cuda_runtime.sh includes it first.

   TVM launches every kernel with cuLaunchKernelEx, which CUDA 11.8 brought, and names a launch attribute of
   CUDA 12.8. Both are for clusters of thread blocks, which GPUs before Hopper (sm_90) do not have: without
   attributes cuLaunchKernelEx is cuLaunchKernel. */
#pragma once
#include <cuda.h>

#if CUDA_VERSION < 11080

#define CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED static_cast<CUfunction_attribute>(14)

enum CUlaunchAttributeID {
  CU_LAUNCH_ATTRIBUTE_COOPERATIVE = 2,
  CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4,
  CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
};

struct CUlaunchAttribute {
  CUlaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
    int cooperative, programmaticStreamSerializationAllowed;
  } value;
};

struct CUlaunchConfig {
  unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute* attrs;
  unsigned numAttrs;
};

static inline CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction kernel, void** arguments,
                                        void** extra) {
  if (config->numAttrs != 0) return CUDA_ERROR_NOT_SUPPORTED;
  return cuLaunchKernel(kernel, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                        config->blockDimY, config->blockDimZ, config->sharedMemBytes, config->hStream, arguments,
                        extra);
}

#endif

#if CUDA_VERSION < 12080
/* Never set for these GPUs; the names have to exist. */
#define CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION static_cast<CUlaunchAttributeID>(11)
#define preferredClusterDim clusterDim
#endif
