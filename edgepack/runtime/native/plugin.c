/* Count the instructions that a program executes in marked regions, by class.
 *
 *     qemu-aarch64 -plugin ./plugin.so,out=FILE[,l1=KIB:WAYS,l2=KIB:WAYS] ... PROGRAM
 *
 * The program marks a region by syscall(7777, 1) and syscall(7777, 2). Each region adds one JSON
 * line to FILE: {"total": N, "dot": N, ...}. "total" counts every instruction; the other classes
 * do not overlap, and what belongs to none of them is in the total only. Classes are those of
 * aarch64.h or x86_64.h.
 *
 * With the sizes of two data caches, "loads", "stores", "l1_misses" and "l2_misses" follow: accesses
 * of at most one vector register, and what cache.h makes of them.
 *
 * The counters are plain memory that translated code adds to: the program must have one thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

enum { MARKER = 7777, REGION_BEGIN = 1, REGION_END = 2 };
enum { NONE, MOST_CLASSES = 16 };

#include "aarch64.h"
#include "cache.h"
#include "x86_64.h"

enum { API_VERSION = 1 };
EXPORT int qemu_plugin_version = API_VERSION;

static int (*classify)(const uint8_t *code, size_t length, unsigned *width);
static const char *const *names;

static uint64_t counted[MOST_CLASSES];   /* [NONE] counts everything; translated code adds here */
static uint64_t at_begin[MOST_CLASSES];
static FILE *out;

static Cache l1, l2;
static bool with_caches, in_region;
static uint64_t loads, stores;

/* What one instruction moves comes in pieces of 8 bytes: pieces that follow each other are one
 * access, up to the width of a register. */
static struct { uint64_t instruction, next, bytes; } last;
enum { WIDTH_BITS = 8 };

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *tag)
{
    uint64_t instruction = (uintptr_t)tag >> WIDTH_BITS;
    uint64_t width = (uintptr_t)tag & ((1u << WIDTH_BITS) - 1);
    uint64_t bytes = (uint64_t)1 << qemu_plugin_mem_size_shift(info);

    (void)vcpu;
    if (!in_region)
        return;
    if (instruction == last.instruction && address == last.next && last.bytes + bytes <= width) {
        last.bytes += bytes;
    } else {
        last.instruction = instruction;
        last.bytes = bytes;
        *(qemu_plugin_mem_is_store(info) ? &stores : &loads) += 1;
    }
    last.next = address + bytes;
    for (uint64_t line = address >> LINE_BITS; line <= (address + bytes - 1) >> LINE_BITS; line++)
        if (!touch(&l1, line))
            touch(&l2, line);
}

/* Make each execution of a block add what the block holds. */
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    static uintptr_t translated;
    size_t length = qemu_plugin_tb_n_insns(block);
    uint64_t held[MOST_CLASSES] = {0};

    (void)id;
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        unsigned width;
        held[classify(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn), &width)]++;
        if (with_caches)
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS,
                                             QEMU_PLUGIN_MEM_RW,
                                             (void *)(++translated << WIDTH_BITS | width));
    }
    held[NONE] = length;
    for (int class = 0; class < MOST_CLASSES; class++)
        if (held[class])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64,
                                                     &counted[class], held[class]);
}

static void begin_region(void)
{
    memcpy(at_begin, counted, sizeof counted);
    loads = stores = l1.misses = l2.misses = 0;
    in_region = true;
}

static void put(const char *name, uint64_t number)
{
    fprintf(out, ", \"%s\": %llu", name, (unsigned long long)number);
}

static void end_region(void)
{
    in_region = false;
    fprintf(out, "{\"%s\": %llu", names[NONE], (unsigned long long)(counted[NONE] - at_begin[NONE]));
    for (int class = 1; names[class]; class++)
        put(names[class], counted[class] - at_begin[class]);
    if (with_caches) {
        put("loads", loads);
        put("stores", stores);
        put("l1_misses", l1.misses);
        put("l2_misses", l2.misses);
    }
    fputs("}\n", out);
    fflush(out);
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == MARKER && a1 == REGION_BEGIN)
        begin_region();
    else if (number == MARKER && a1 == REGION_END)
        end_region();
}

/* Take one option of the command line; false when it is none of ours. */
static bool take(const char *option)
{
    unsigned kib, ways;

    if (strncmp(option, "out=", 4) == 0) {
        out = fopen(option + 4, "w");
        if (!out)
            fprintf(stderr, "plugin: cannot write %s\n", option + 4);
        return out != NULL;
    }
    if (sscanf(option, "l1=%u:%u", &kib, &ways) == 2)
        return make_cache(&l1, kib, ways);
    return sscanf(option, "l2=%u:%u", &kib, &ways) == 2 && make_cache(&l2, kib, ways);
}

static bool choose_architecture(const char *name)
{
    bool a64 = strcmp(name, "aarch64") == 0;

    classify = a64 ? a64_class : x86_class;
    names = a64 ? A64_NAMES : X86_NAMES;
    return a64 || strcmp(name, "x86_64") == 0;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    bool understood = choose_architecture(info->target_name);

    if (info->version.min > API_VERSION || info->version.cur < API_VERSION
        || !qemu_plugin_register_vcpu_tb_exec_inline) {
        fprintf(stderr, "plugin: this qemu speaks plugin interface %d to %d, not %d\n",
                info->version.min, info->version.cur, API_VERSION);
        return 1;
    }
    for (int i = 0; understood && i < argc; i++)
        understood = take(argv[i]);
    if (!understood || !out || !l1.sets != !l2.sets) {
        fprintf(stderr, "plugin: usage: -plugin plugin.so,out=FILE[,l1=KIB:WAYS,l2=KIB:WAYS]\n");
        return 1;
    }
    with_caches = l1.sets != 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
