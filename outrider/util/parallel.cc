#include "outrider/util/parallel.h"

#include <pthread.h>
#include <sched.h>

namespace outrider {

void spread_out(std::thread::native_handle_type thread, std::size_t nth) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int here = sched_getcpu();
  // A hint: where it cannot be given, nothing is lost.
  if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  const auto count = static_cast<std::size_t>(CPU_COUNT(&allowed));
  if (count < 2 || nth % count == 0) return;
  int cpu = here;
  for (std::size_t left = nth % count; left != 0;) {
    cpu = (cpu + 1) % CPU_SETSIZE;
    if (CPU_ISSET(cpu, &allowed)) --left;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (pthread_setaffinity_np(thread, sizeof(one), &one) == 0) pthread_setaffinity_np(thread, sizeof(allowed), &allowed);
}

}  // namespace outrider
