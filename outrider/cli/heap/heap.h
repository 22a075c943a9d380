#pragma once

namespace outrider {

// Configures the heap for a short run that allocates tens of megabytes once: one arena that grows in large steps, on
// huge pages if the system grants them. Otherwise page faults take a third of the time of `outrider check` on a large
// checkpoint. Only the program calls this, never the library.
void prepare_heap();

// Configures the heap for a long-running process: returns unused memory to the system and lets threads allocate
// independently. Undoes prepare_heap(), except for the memory it reserved.
void prepare_heap_for_serving();

}  // namespace outrider
