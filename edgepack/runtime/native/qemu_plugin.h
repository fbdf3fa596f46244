/* The part of QEMU's TCG plugin interface, version 1, that the counting plugin calls.
 *
 * Own declarations, since no Debian package ships the header. Version 1 is spoken by QEMU 6.0 to
 * 8.2; QEMU 9 took away the inline counters and asks for version 2 or later. That function is
 * weak here, so that the plugin still loads there and QEMU's own message about versions is seen.
 * Source: "QEMU TCG Plugins" in QEMU's developer documentation.
 */
#ifndef EDGEPACK_QEMU_PLUGIN_H
#define EDGEPACK_QEMU_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;     /* a translated block */
struct qemu_plugin_insn;   /* one instruction of it */
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
typedef uint32_t qemu_plugin_meminfo_t;   /* one access to memory */

typedef struct {
    const char *target_name;
    struct { int min, cur; } version;   /* of the interface that this QEMU speaks */
    bool system_emulation;
    struct { int smp_vcpus, max_vcpus; } system;
} qemu_info_t;

typedef void (*block_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*syscall_callback)(qemu_plugin_id_t, unsigned vcpu, int64_t number, uint64_t a1,
                                 uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                                 uint64_t a7, uint64_t a8);
typedef void (*access_callback)(unsigned vcpu, qemu_plugin_meminfo_t, uint64_t address, void *tag);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, block_callback);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_callback);
__attribute__((weak)) void qemu_plugin_register_vcpu_tb_exec_inline(
    struct qemu_plugin_tb *, enum qemu_plugin_op, void *counter, uint64_t amount);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, access_callback,
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw,
                                      void *tag);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);

#endif
