// One core: our packed f32 GEMM beside oneDNN's matmul with pre-packed weights, on the shapes of
// XLM-R-large, each call of one next to a call of the other and to a loop of multiply-adds that
// touches no memory. Prints GFLOP/s, median (best), and ours as a share of that loop's median.
//
//   gemm_bench [isa]
//
// Time is the thread's CPU time, so that other work on the machine disturbs little. oneDNN always
// uses its best instruction set; cap it with ONEDNN_MAX_CPU_ISA=AVX2 to compare the avx2 tier.

#include <fmt/format.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <dnnl.hpp>
#include <random>
#include <vector>

#include "kernels/kernels.h"

namespace {

using tamis::kernels::KernelTable;

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::vector<float> random_floats(size_t n) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> out(n);
  for (float& x : out) x = uniform(random);
  return out;
}

struct Problem {
  int64_t m, k, n;
  std::vector<float> a = random_floats(static_cast<size_t>(m * k));
  std::vector<float> w =
      random_floats(static_cast<size_t>(n * k));  // [n, k], as a checkpoint has it
};

class Ours {
 public:
  Ours(const KernelTable& table, const Problem& p)
      : table_(table),
        p_(p),
        panels_((p.n + table.nr - 1) / table.nr),
        packed_(static_cast<size_t>(panels_ * table.nr * p.k)),
        bias_(static_cast<size_t>(panels_ * table.nr), 0.0f),
        scratch_(table.gemm_scratch(p.m, p.k)),
        c_(static_cast<size_t>(p.m * p.n)) {
    std::vector<tamis::kernels::StoredRow> rows(bias_.size(), {nullptr, tamis::DType::kF32});
    for (int64_t r = 0; r < p.n; ++r) {
      rows[static_cast<size_t>(r)].data = reinterpret_cast<const std::byte*>(p.w.data() + r * p.k);
    }
    for (int64_t i = 0; i < panels_; ++i) {
      table.pack_panel(rows.data() + i * table.nr, p.k, tamis::DType::kF32,
                       reinterpret_cast<std::byte*>(packed_.data() + i * table.nr * p.k));
    }
  }
  void run() {
    table_.gemm({p_.a.data(), p_.k, p_.m, p_.k, reinterpret_cast<const std::byte*>(packed_.data()),
                 tamis::DType::kF32, bias_.data(), p_.n, 0, panels_, tamis::Activation::kNone,
                 c_.data(), p_.n},
                scratch_.data());
  }
  const std::vector<float>& result() const { return c_; }

 private:
  const KernelTable& table_;
  const Problem& p_;
  int64_t panels_;
  std::vector<float> packed_, bias_, scratch_, c_;
};

class OneDnn {
 public:
  explicit OneDnn(Problem& p) : c_(static_cast<size_t>(p.m * p.n)) {
    using dnnl::memory;
    const auto f32 = memory::data_type::f32;
    using tag = memory::format_tag;
    const memory::desc a({p.m, p.k}, f32, tag::ab), w({p.k, p.n}, f32, tag::any),
        c({p.m, p.n}, f32, tag::ab);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, w, c), engine_);
    name_ = description.impl_info_str();
    matmul_ = dnnl::matmul(description);
    memory plain({{p.k, p.n}, f32, tag::ba}, engine_, p.w.data());
    memory packed(description.weights_desc(), engine_);
    dnnl::reorder(plain, packed).execute(stream_, plain, packed);
    arguments_ = {{DNNL_ARG_SRC, memory(a, engine_, p.a.data())},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_DST, memory(c, engine_, c_.data())}};
  }
  void run() { matmul_.execute(stream_, arguments_); }
  const std::vector<float>& result() const { return c_; }
  const std::string& name() const { return name_; }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul matmul_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::vector<float> c_;
  std::string name_;
};

// GFLOP/s of each call.
struct Rates {
  std::vector<double> values;
  template <class Call>
  void time(const Call& call) {
    const double start = cpu_seconds();
    const double flop = call();
    values.push_back(1e-9 * flop / (cpu_seconds() - start));
    std::sort(values.begin(), values.end());
  }
  double median() const { return values[values.size() / 2]; }
  double best() const { return values.back(); }
  std::string text() const { return fmt::format("{:6.1f} ({:5.1f})", median(), best()); }
};

/// Prints a row; returns the rates of the loop of multiply-adds.
Rates compare(const KernelTable& table, int64_t m, int64_t k, int64_t n) {
  Problem problem{m, k, n};
  Ours ours(table, problem);
  OneDnn theirs(problem);
  const double flop = 2 * static_cast<double>(m * k * n);
  Rates our_rates, their_rates, peak;
  for (int i = 0; i < (m < 64 ? 41 : 11); ++i) {
    our_rates.time([&] { return ours.run(), flop; });
    their_rates.time([&] { return theirs.run(), flop; });
    peak.time(table.fma_loop);
  }
  double difference = 0;
  for (size_t i = 0; i < ours.result().size(); ++i) {
    const double d = std::abs(static_cast<double>(ours.result()[i]) - theirs.result()[i]);
    difference = std::max(difference, d);
  }
  fmt::print("| {:4} | {}x{} | {} | {} | {:.2f} | {:.2f} | {} | {:.1e} |\n", m, k, n,
             our_rates.text(), their_rates.text(), our_rates.median() / their_rates.median(),
             our_rates.median() / peak.median(), theirs.name(), difference);
  return peak;
}

}  // namespace

int main(int argc, char** argv) {
  omp_set_num_threads(1);
  const KernelTable* table =
      argc > 1 ? tamis::kernels::find_table(argv[1]) : tamis::kernels::supported_tables().front();
  if (table == nullptr) {
    fmt::print(stderr, "gemm_bench: this machine cannot run {}\n", argv[1]);
    return 64;
  }
  fmt::print("isa {}, one thread, GFLOP/s: median (best)\n\n", table->isa);
  fmt::print(
      "| M | K x N | ours | oneDNN | ratio | of peak | oneDNN's choice | max difference |\n");
  fmt::print("|---|---|---|---|---|---|---|---|\n");
  Rates peak;  // of all rows
  for (int64_t m : {1, 16, 64, 128, 512}) {
    for (auto [k, n] : {std::pair{1024, 3072}, {1024, 1024}, {1024, 4096}, {4096, 1024}}) {
      const Rates row = compare(*table, m, k, n);
      peak.values.insert(peak.values.end(), row.values.begin(), row.values.end());
    }
  }
  std::sort(peak.values.begin(), peak.values.end());
  fmt::print("\npeak of the core, multiply-adds on registers alone: {}\n", peak.text());
}
