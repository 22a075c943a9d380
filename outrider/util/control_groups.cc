#include "outrider/util/control_groups.h"

#include <fstream>

namespace outrider {

std::vector<std::string> control_groups() {
  std::ifstream in("/proc/self/cgroup");
  std::vector<std::string> directories;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("0::")) continue;
    for (std::string group = line.substr(3);; group.resize(group.rfind('/'))) {
      directories.push_back("/sys/fs/cgroup" + group);
      if (group.find('/') == std::string::npos) break;
    }
  }
  return directories;
}

}  // namespace outrider
