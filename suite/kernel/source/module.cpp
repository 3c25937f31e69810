// The Python module suite.kernel._kernel: the engine's methods, taking and giving numpy arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "ceilings.h"
#include "engine.h"

namespace nb = nanobind;
using namespace suite;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Volume = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

template <class T>
std::vector<T> vector(const Array<T>& array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

Blocks blocks(int n, int rows, const Array<int64_t>& pointer, const Array<int32_t>& index, const Array<int32_t>& tap,
              const Array<float>& value, const Array<float>& bias) {
  if (pointer.size() != static_cast<std::size_t>((rows + n - 1) / n + 1) || index.size() != tap.size() ||
      value.size() != index.size() * n || bias.size() != (pointer.size() - 1) * n)
    throw std::invalid_argument("the arrays of a block-sparse weight do not fit together");
  return Blocks{n, rows, vector(pointer), vector(index), vector(tap), vector(value), vector(bias)};
}

}  // namespace

NB_MODULE(_kernel, m) {
  nb::class_<Blocks>(m, "Blocks");
  m.def("blocks", &blocks);
  m.def("fma_rate", &fma_rate, nb::call_guard<nb::gil_scoped_release>());
  m.def("read_rate", &read_rate, nb::call_guard<nb::gil_scoped_release>());
  nb::class_<Geometry>(m, "Geometry")
      .def("__init__", [](Geometry* self, int ky, int kx, int sy, int sx, int top, int left, int dy, int dx) {
        new (self) Geometry{ky, kx, sy, sx, top, left, dy, dx};
      });
  nb::class_<Filter>(m, "Filter")
      .def("__init__", [](Filter* self, const Geometry& geometry, const Blocks& blocks, float low, float high, bool depthwise) {
        new (self) Filter{geometry, blocks, Clamp{low, high}, depthwise};
      });
  nb::class_<Engine>(m, "Engine")
      .def(nb::init<const std::string&, int>())
      .def_prop_ro("simd", &Engine::simd)
      .def_prop_ro("threads", &Engine::threads)
      .def_prop_ro("bytes", &Engine::bytes)
      .def("how", &Engine::how)
      .def("buffer", &Engine::buffer, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg() = 1)
      .def("reuse", &Engine::reuse, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg() = 1)
      .def("size", &Engine::size)
      .def("finish", &Engine::finish)
      .def("convolve", &Engine::convolve)
      .def("convolve_pair", &Engine::convolve_pair)
      .def("multiply", [](Engine& self, int in, int out, int residual, const Blocks& weight, float low, float high) {
        return self.multiply(in, out, residual, weight, Clamp{low, high});
      })
      .def("combine", [](Engine& self, int a, int b, int out, const std::string& kind, float low, float high) {
        return self.combine(a, b, out, kind, Clamp{low, high});
      })
      .def("activate", [](Engine& self, int in, int out, const std::string& kind, float low, float high) {
        return self.activate(in, out, kind, Clamp{low, high});
      })
      .def("scale", &Engine::scale)
      .def("mean", &Engine::mean)
      .def("pool", &Engine::pool)
      .def("pick", &Engine::pick)
      .def("repeat", &Engine::repeat)
      .def("interpolate", &Engine::interpolate)
      .def("write", [](Engine& self, int buffer, const Volume& from) {
        nb::gil_scoped_release release;
        self.write(buffer, from.data(), from.size());
      })
      .def("read", [](const Engine& self, int buffer, const Output& to) {
        nb::gil_scoped_release release;
        self.read(buffer, to.data(), to.size());
      })
      .def("run", &Engine::run, nb::call_guard<nb::gil_scoped_release>());
}
