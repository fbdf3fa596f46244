/* Count the instructions that an aarch64 program executes in marked regions, by class.
 *
 *     qemu-aarch64 -plugin ./plugin.so,out=FILE ... PROGRAM
 *
 * The program marks a region by syscall(7777, 1) and syscall(7777, 2). Each region adds one JSON
 * line to FILE: {"total": N, "dot": N, ...}. "total" counts every instruction; the other classes
 * do not overlap, and what belongs to none of them is in the total only.
 *
 * The counters are plain memory that translated code adds to: the program must have one thread.
 */
#include <stdio.h>
#include <string.h>

#include "qemu_plugin.h"

enum { MARKER = 7777, REGION_BEGIN = 1, REGION_END = 2 };

enum { API_VERSION = 1 };
EXPORT int qemu_plugin_version = API_VERSION;

/* A class is every instruction with (word & mask) == value; the first match decides, so narrow
 * classes stand above the wide encoding groups that contain them.
 * Source: Arm Architecture Reference Manual, section C4.1, "A64 instruction set encoding". */
enum { NONE, USDOT, DOT, MMLA, FMLA, IMLAL, SME, SVE, SIMD, MEMORY, BRANCH, CLASSES };
static const char *const NAMES[CLASSES] = {"total", "usdot", "dot", "mmla", "fmla", "imlal",
                                           "sme",   "sve",   "simd", "memory", "branch"};
static const struct { uint32_t mask, value; int class; } PATTERNS[] = {
    {0xBFE0FC00, 0x0E809C00, USDOT},    /* USDOT vector */
    {0xBFC0F400, 0x0F00F000, USDOT},    /* SUDOT by element */
    {0xBFC0F400, 0x0F80F000, USDOT},    /* USDOT by element */
    {0x9FE0FC00, 0x0E809400, DOT},      /* SDOT, UDOT vector */
    {0x9FC0F400, 0x0F80E000, DOT},      /* SDOT, UDOT by element */
    {0xDFE0F400, 0x4E80A400, MMLA},     /* SMMLA, UMMLA, USMMLA */
    {0xBF20FC00, 0x0E20CC00, FMLA},     /* FMLA, FMLS vector */
    {0xBF80B400, 0x0F801000, FMLA},     /* FMLA, FMLS by element */
    {0x9F20FC00, 0x0E208000, IMLAL},    /* SMLAL, UMLAL */
    {0x9F20FC00, 0x0E20C000, IMLAL},    /* SMULL, UMULL */
    {0x9F00F400, 0x0F002000, IMLAL},    /* SMLAL, UMLAL by element */
    {0x9F3FFC00, 0x0E206800, IMLAL},    /* SADALP, UADALP: pairwise add after a multiply */
    {0x9E000000, 0x80000000, SME},
    {0x1E000000, 0x04000000, SVE},
    {0x0E000000, 0x0E000000, SIMD},     /* the rest of scalar and vector floating point */
    {0x0A000000, 0x08000000, MEMORY},
    {0x1C000000, 0x14000000, BRANCH},   /* with exceptions and system calls */
};

static uint64_t counted[CLASSES];       /* [NONE] counts everything; translated code adds here */
static uint64_t at_begin[CLASSES];
static FILE *out;

static int classify(uint32_t word)
{
    for (size_t i = 0; i < sizeof PATTERNS / sizeof *PATTERNS; i++)
        if ((word & PATTERNS[i].mask) == PATTERNS[i].value)
            return PATTERNS[i].class;
    return NONE;
}

/* Make each execution of a block add what the block holds. */
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t length = qemu_plugin_tb_n_insns(block);
    uint64_t held[CLASSES] = {0};

    (void)id;
    for (size_t i = 0; i < length; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        held[classify(word)]++;
    }
    held[NONE] = length;
    for (int class = 0; class < CLASSES; class++)
        if (held[class])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64,
                                                     &counted[class], held[class]);
}

static void write_region(void)
{
    for (int class = 0; class < CLASSES; class++)
        fprintf(out, "%s\"%s\": %llu", class ? ", " : "{", NAMES[class],
                (unsigned long long)(counted[class] - at_begin[class]));
    fputs("}\n", out);
    fflush(out);
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == MARKER && a1 == REGION_BEGIN)
        memcpy(at_begin, counted, sizeof counted);
    else if (number == MARKER && a1 == REGION_END)
        write_region();
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (info->version.min > API_VERSION || info->version.cur < API_VERSION
        || !qemu_plugin_register_vcpu_tb_exec_inline) {
        fprintf(stderr, "plugin: this qemu speaks plugin interface %d to %d, not %d\n",
                info->version.min, info->version.cur, API_VERSION);
        return 1;
    }
    if (strcmp(info->target_name, "aarch64") != 0 || argc != 1
        || strncmp(argv[0], "out=", 4) != 0) {
        fprintf(stderr, "plugin: usage: qemu-aarch64 -plugin plugin.so,out=FILE\n");
        return 1;
    }
    out = fopen(argv[0] + 4, "w");
    if (!out) {
        fprintf(stderr, "plugin: cannot write %s\n", argv[0] + 4);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
