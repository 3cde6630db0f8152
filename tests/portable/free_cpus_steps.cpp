// Asks FreeCpus as often as there are lines on stdin: each is a time in milliseconds and the path of a /proc/stat.
#include "free_cpus.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

int main(int, char **arguments) {
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
