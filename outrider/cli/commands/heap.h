#pragma once

namespace outrider {

// Sets the heap up for a short run that allocates tens of megabytes once: one arena that grows in large steps, on huge
// pages where the system grants them on request. Without it a third of the time of `outrider check` on a large
// checkpoint is spent on page faults. Only the program does this, never the library.
void prepare_heap();

// For a process that stays: memory that is no longer used goes back to the system, and threads need not wait for one
// another. Undoes what prepare_heap() set, but for the memory it reserved.
void prepare_heap_for_serving();

}  // namespace outrider
