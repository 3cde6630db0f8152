// Asks FreeCpus for each number on stdin, a time in milliseconds; or, with "container", what a container allows.
#include "free_cpus.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

int main(int, char **arguments) {
    if (std::strcmp(arguments[1], "container") == 0) {
        printf("%d\n", portable::allowed_by_container(arguments[2], arguments[3]));
        return 0;
    }
    cpu_set_t usable;
    CPU_ZERO(&usable);
    for (int cpu = 0; cpu < std::atoi(arguments[1]); ++cpu) {
        CPU_SET(cpu, &usable);
    }
    portable::FreeCpus cpus(usable, std::atoi(arguments[2]), arguments[3]);
    portable::FreeCpus::Clock::time_point begin{};
    int milliseconds = 0;
    while (scanf("%d", &milliseconds) == 1) {
        printf("%d\n", cpus.threads(begin + std::chrono::milliseconds(milliseconds)));
        fflush(stdout);
    }
    return 0;
}
