/* Start as programs did before glibc 2.34, which gave the entry a new version: so the runner also
 * starts on devices with an older C library than that of the machine it was built on. Linked with
 * --wrap=__libc_start_main. */
#include <features.h>

#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#endif

typedef int Main(int, char **, char **);
typedef void Hook(void);

int start(Main *, int, char **, Hook *, Hook *, Hook *, void *);
int __wrap___libc_start_main(Main *, int, char **, Hook *, Hook *, Hook *, void *);
__asm__(".symver start,__libc_start_main@" OLDEST);

int __wrap___libc_start_main(Main *main, int argc, char **argv, Hook *init, Hook *fini,
                             Hook *loader_fini, void *stack_end)
{
    return start(main, argc, argv, init, fini, loader_fini, stack_end);
}
