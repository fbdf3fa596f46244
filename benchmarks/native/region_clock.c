/* Clock the regions that the runner marks, on a CPU made to look like an older one.
 *
 *     LD_PRELOAD=./region_clock.so REGION_CLOCK=FILE ./runner ...
 *
 * Stands before libc's syscall(): between syscall(7777, 1) and syscall(7777, 2) it takes the
 * thread's CPU time and adds it, in nanoseconds, as a line of FILE.
 *
 * qemu-user has no AVX-512 and no VNNI, so the kernels that it counts are those of AVX2. The
 * runtime whose CPUID instructions were replaced by UD2 (which is as long) traps here, and is told
 * what the CPU is, less those features. Source: Intel 64 and IA-32 Architectures Software
 * Developer's Manual, volume 2, CPUID, leaf 7: bits of EBX, ECX, EDX and of EAX in subleaf 1.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

enum { MARKER = 7777, REGION_BEGIN = 1, REGION_END = 2, FEATURES = 7, LENGTH_OF_UD2 = 2 };

static int64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

long syscall(long number, ...)
{
    static int64_t begin;
    static FILE *out;
    va_list rest;
    int64_t end = now();

    if (number != MARKER)
        abort();   /* the runner and the runtime make no other call through this function */
    va_start(rest, number);
    if (va_arg(rest, int) == REGION_END) {
        if (!out)
            out = fopen(getenv("REGION_CLOCK"), "w");
        fprintf(out, "%lld\n", (long long)(end - begin));
        fflush(out);
    }
    va_end(rest);
    begin = now();
    return 0;
}

static void answer(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    unsigned leaf = (unsigned)registers[REG_RAX], sub = (unsigned)registers[REG_RCX];
    unsigned a, b, c, d;

    (void)signal, (void)info;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == FEATURES && sub == 0) {
        b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30
               | 1u << 31);                                        /* AVX512F to AVX512VL */
        c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);   /* with AVX512_VNNI */
        d &= ~(1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);  /* with AMX */
    } else if (leaf == FEATURES) {
        a &= ~(1u << 4 | 1u << 5 | 1u << 23);                      /* AVX-VNNI, AVX512_BF16 */
        d &= ~(1u << 4 | 1u << 5 | 1u << 10);                      /* AVX-VNNI-INT8 and INT16 */
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += LENGTH_OF_UD2;
}

__attribute__((constructor)) static void stand_guard(void)
{
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
}
