"""A CUDA GPU whose processor is this machine's CPU: TVM's CUDA text compiled by the host's C++ compiler, and
libraries in the place of NVIDIA's that load and launch it. It proves kernels; its timings mean nothing.
"""
