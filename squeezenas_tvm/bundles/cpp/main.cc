// Runs a bundle on a frame and times it, with TVM's runtime alone. A start for a program of your own.
//
//   run_bundle BUNDLE [FRAME.ppm] [REPEATS=20]
//
// A frame is a binary PPM (P6) of the module's size; without one it is gray, and inputs that are no frames are
// zero. What the module takes and gives, and where it runs, is in the bundle's manifest.json. A network that
// segments takes uint8 RGB, 1 x height x width x 3, and gives uint8, 1 x height x width: the index of each
// pixel's class in labels.json. One that finds key points gives float32, 1 x points x 3: x, y and score of each
// name in labels.json.
// Exit codes: 0 done, 1 failed work, 2 wrong input.
#include <dlfcn.h>
#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;

namespace {

constexpr DLDevice kCpu{kDLCPU, 0};
constexpr int kPooledAllocator = 2;
constexpr int kWarmUp = 3;
constexpr size_t kLabels = std::numeric_limits<uint8_t>::max() + 1;  // that a pixel can have, whatever the classes

struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw InputError(path + " cannot be read; give a bundle made by squeezenas-tvm deploy, or a frame");
  return {std::istreambuf_iterator<char>(file), {}};
}

json::Object ReadJson(const std::string& path) { return json::Parse(ReadFile(path)).cast<json::Object>(); }

json::Value Get(const json::Value& object, const char* key) {
  return object.cast<json::Object>().at(ffi::String(key));
}

std::vector<uint8_t> ReadPpm(const std::string& path, int64_t height, int64_t width) {
  const std::string wanted = "P6 " + std::to_string(width) + " " + std::to_string(height) + " 255";
  const std::string data = ReadFile(path);
  char kind = 0, end = 0;
  long long found_width = 0, found_height = 0;
  int most = 0, used = 0;
  const int read =
      std::sscanf(data.c_str(), "P%c %lld %lld %d%c%n", &kind, &found_width, &found_height, &most, &end, &used);
  const size_t size = static_cast<size_t>(height * width * 3);
  if (read != 5 || kind != '6' || most != 255 || found_width != width || found_height != height ||
      data.size() < used + size) {
    throw InputError(path + " is not a whole PPM that starts with " + wanted);
  }
  return {data.begin() + used, data.begin() + used + static_cast<long>(size)};
}

// What goes into the module, or comes out.
struct Value {
  std::string name, meaning;
  DLDataType dtype;
  std::vector<int64_t> shape;
};

DLDataType ParseType(const std::string& name) {
  const size_t digits = name.find_first_of("0123456789");
  const std::string kind = name.substr(0, digits);
  const auto bits = static_cast<uint8_t>(digits == std::string::npos ? 8 : std::atoi(name.c_str() + digits));
  if (kind == "float") return {kDLFloat, bits, 1};
  if (kind == "uint") return {kDLUInt, bits, 1};
  if (kind == "int") return {kDLInt, bits, 1};
  if (kind == "bool") return {kDLBool, 8, 1};
  throw InputError("this example knows no numbers of type " + name);
}

std::vector<Value> Values(const json::Object& manifest, const char* key) {
  std::vector<Value> values;
  for (const json::Value& entry : Get(manifest, key).cast<json::Array>()) {
    const std::string name = Get(entry, "name").cast<ffi::String>(), dtype = Get(entry, "dtype").cast<ffi::String>();
    Value value{name, Get(entry, "meaning").cast<ffi::String>(), ParseType(dtype), {}};
    for (const json::Value& side : Get(entry, "shape").cast<json::Array>()) value.shape.push_back(side.cast<int64_t>());
    values.push_back(value);
  }
  return values;
}

ffi::Tensor Empty(const Value& value, DLDevice device) {
  static const auto alloc = ffi::Function::GetGlobalRequired("runtime.TVMTensorAllocWithScope");
  return alloc(ffi::Shape(value.shape), value.dtype, device, nullptr).cast<ffi::Tensor>();
}

void Copy(const ffi::Tensor& from, const ffi::Tensor& to) {
  static const auto copy = ffi::Function::GetGlobalRequired("runtime.TVMTensorCopyFromTo");
  copy(from, to);
}

void Synchronize(DLDevice device) {
  static const auto sync = ffi::Function::GetGlobalRequired("runtime.Device_StreamSync");
  if (device.device_type != kDLCPU) sync(device, int64_t{0});
}

// TVM's CUDA part is a library of its own, and registers itself when it is loaded.
DLDevice FindDevice(const std::string& kind) {
  if (kind == "cpu") return kCpu;
  if (kind != "cuda") throw InputError("the bundle is for " + kind + "; this example runs cpu and cuda");
  if (dlopen("libtvm_runtime_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw std::runtime_error(std::string(dlerror()) + "; NVIDIA's driver and a TVM built with CUDA are needed");
  }
  return {kDLCUDA, 0};
}

// The virtual machine that runs the network, with memory pools on the device and on the CPU.
ffi::Module LoadNetwork(const std::string& path, DLDevice device) {
  ffi::Module library = ffi::Module::LoadFromFile(path);
  ffi::Module machine = library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
  ffi::Function initialize = machine->GetFunction("vm_initialization").value();
  if (device.device_type == kDLCPU) {
    initialize(static_cast<int>(kDLCPU), 0, kPooledAllocator);
  } else {
    initialize(static_cast<int>(device.device_type), device.device_id, kPooledAllocator,
               static_cast<int>(kDLCPU), 0, kPooledAllocator);
  }
  return machine;
}

std::vector<ffi::Tensor> Call(const ffi::Function& network, const std::vector<ffi::Tensor>& inputs) {
  std::vector<ffi::AnyView> packed(inputs.begin(), inputs.end());
  ffi::Any result;
  network.CallPacked(packed.data(), static_cast<int32_t>(packed.size()), &result);
  Synchronize(inputs.front().device());
  // A graph with one output may still come as a tuple of one.
  if (auto alone = result.as<ffi::Tensor>()) return {*alone};
  const auto several = result.cast<ffi::Array<ffi::Tensor>>();
  return {several.begin(), several.end()};
}

// The frame where the network takes one, else zeros.
ffi::Tensor Input(const Value& value, const std::string& image, DLDevice device) {
  const ffi::Tensor host = Empty(value, kCpu), there = Empty(value, device);
  auto* bytes = static_cast<uint8_t*>(host.data_ptr());
  const auto size = static_cast<size_t>(host.numel()) * value.dtype.bits / 8;
  const bool is_frame = value.meaning == "frame";
  std::fill(bytes, bytes + size, is_frame ? 128 : 0);
  if (!image.empty()) {
    if (!is_frame || value.shape[0] != 1) throw InputError("input " + value.name + " is not one frame; give no image");
    const std::vector<uint8_t> pixels = ReadPpm(image, value.shape[1], value.shape[2]);
    std::copy(pixels.begin(), pixels.end(), bytes);
  }
  Copy(host, there);
  return there;
}

void PrintClasses(const std::string& bundle, const ffi::Tensor& labels) {
  std::vector<long long> counts(kLabels);
  const auto* pixels = static_cast<const uint8_t*>(labels.data_ptr());
  for (int64_t i = 0; i < labels.numel(); ++i) ++counts[pixels[i]];
  for (const json::Value& entry : Get(ReadJson(bundle + "/labels.json"), "classes").cast<json::Array>()) {
    const auto index = Get(entry, "index").cast<int64_t>();
    const auto name = Get(entry, "name").cast<ffi::String>();
    if (counts.at(index) > 0) std::printf("%s: %lld pixels\n", name.c_str(), counts[index]);
  }
}

// x and y in pixels of the frame, and how sure the network is.
void PrintPoints(const std::string& bundle, const ffi::Tensor& points) {
  const auto* numbers = static_cast<const float*>(points.data_ptr());
  const json::Value told = Get(ReadJson(bundle + "/labels.json"), "key_points");
  int64_t i = 0;
  for (const json::Value& entry : Get(told, "names").cast<json::Array>()) {
    if (3 * i >= points.numel()) break;
    const auto name = entry.cast<ffi::String>();
    std::printf("%s: %.1f %.1f, score %.2f\n", name.c_str(), numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2]);
    ++i;
  }
}

void PrintNumbers(const Value& value, const ffi::Tensor& tensor) {
  std::printf("%s:", value.name.c_str());
  for (const int64_t side : value.shape) std::printf(" %lld", static_cast<long long>(side));
  if (value.dtype.code == kDLFloat && value.dtype.bits == 32 && tensor.numel() > 0) {
    const auto* numbers = static_cast<const float*>(tensor.data_ptr());
    const auto [low, high] = std::minmax_element(numbers, numbers + tensor.numel());
    std::printf(", %g to %g%s", *low, *high, value.meaning == "metres" ? " m" : "");
  }
  std::printf("\n");
}

void Run(const std::string& bundle, const std::string& image, int repeats) {
  const json::Object manifest = ReadJson(bundle + "/manifest.json");
  if (!manifest.count(ffi::String("inputs"))) throw InputError(bundle + " is of an older release; deploy it again");
  const DLDevice device = FindDevice(Get(Get(manifest, "target"), "device").cast<ffi::String>());
  const std::vector<Value> outputs = Values(manifest, "outputs");
  std::vector<ffi::Tensor> inputs;
  for (const Value& value : Values(manifest, "inputs")) inputs.push_back(Input(value, image, device));

  const ffi::Module machine = LoadNetwork(bundle + "/model.so", device);
  const ffi::Function network = machine->GetFunction("main").value();
  std::vector<double> samples_ms;
  for (int i = 0; i < kWarmUp + repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    Call(network, inputs);
    const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
    if (i >= kWarmUp) samples_ms.push_back(spent.count());
  }
  std::sort(samples_ms.begin(), samples_ms.end());
  std::printf("latency in ms over %d runs: min %.3f, median %.3f, max %.3f\n", repeats, samples_ms.front(),
              samples_ms[samples_ms.size() / 2], samples_ms.back());

  const std::vector<ffi::Tensor> results = Call(network, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ffi::Tensor here = Empty(outputs[i], kCpu);
    Copy(results.at(i), here);
    Synchronize(device);
    const bool is_labels = outputs[i].meaning == "class index" && outputs[i].dtype.bits == 8;
    if (is_labels) {
      PrintClasses(bundle, here);
    } else if (outputs[i].meaning == "key points") {
      PrintPoints(bundle, here);
    } else {
      PrintNumbers(outputs[i], here);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  const bool counted = given.size() > 1 && given.back().find_first_not_of("0123456789") == std::string::npos;
  const size_t images = given.size() - counted - 1;
  const int repeats = counted ? std::atoi(given.back().c_str()) : 20;
  if (given.empty() || images > 1 || repeats < 1) {
    std::fprintf(stderr, "usage: %s BUNDLE [FRAME.ppm] [REPEATS=20]\n", argv[0]);
    return 2;
  }
  try {
    Run(given[0], images ? given[1] : "", repeats);
    return 0;
  } catch (const InputError& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
