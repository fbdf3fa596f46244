/* Classes of x86-64 instructions, as far as the estimated cost tells them apart. Included by
 * plugin.c alone.
 *
 * Multiplications that add are VEX-encoded in every kernel that matters. Source: Intel 64 and
 * IA-32 Architectures Software Developer's Manual, volume 2, sections 2.1 to 2.3, appendix A. */
enum { X86_FMA = 1, X86_MADD, X86_DIVIDE, X86_SIMD, X86_BRANCH };
static const char *const X86_NAMES[] = {"total", "fma", "madd", "divide", "simd", "branch", NULL};

static int vex_class(unsigned map, uint8_t opcode)
{
    unsigned low = opcode & 0x0F, high = opcode >> 4;

    if (map == 2 && low >= 6 && (high == 0x9 || high == 0xA || high == 0xB))
        return X86_FMA;                               /* VFMADD132PS to VFNMSUB231SD */
    if (map == 2 && (opcode == 0x04 || opcode == 0x50 || opcode == 0x51))
        return X86_MADD;                              /* VPMADDUBSW, VPDPBUSD, VPDPBUSDS */
    if (map == 1 && opcode == 0xF5)
        return X86_MADD;                              /* VPMADDWD */
    if (map == 1 && (opcode == 0x5E || opcode == 0x51))
        return X86_DIVIDE;                            /* VDIVPS, VSQRTPS */
    return X86_SIMD;
}

static bool is_prefix(uint8_t byte)
{
    return byte == 0x66 || byte == 0xF2 || byte == 0xF3 || byte == 0xF0 || byte == 0x2E
        || byte == 0x36 || byte == 0x3E || byte == 0x26 || byte == 0x64 || byte == 0x65;
}

static int two_byte_class(uint8_t opcode)
{
    if (opcode >= 0x80 && opcode <= 0x8F)
        return X86_BRANCH;
    if (opcode == 0x5E || opcode == 0x51)
        return X86_DIVIDE;
    if ((opcode >= 0x10 && opcode <= 0x17) || (opcode >= 0x28 && opcode <= 0x2F)
        || (opcode >= 0x50 && opcode <= 0x7F) || opcode >= 0xD0 || opcode == 0x38
        || opcode == 0x3A || opcode == 0xC2 || opcode == 0xC6)
        return X86_SIMD;
    return NONE;
}

static int x86_class(const uint8_t *code, size_t length, unsigned *width)
{
    size_t at = 0;

    *width = 16;
    while (at < length && is_prefix(code[at]))
        at++;
    if (at + 3 < length && code[at] == 0xC4) {        /* three-byte VEX */
        *width = code[at + 2] & 4 ? 32 : 16;
        return vex_class(code[at + 1] & 0x1F, code[at + 3]);
    }
    if (at + 2 < length && code[at] == 0xC5) {        /* two-byte VEX: map 1 */
        *width = code[at + 1] & 4 ? 32 : 16;
        return vex_class(1, code[at + 2]);
    }
    if (at < length && (code[at] & 0xF0) == 0x40)     /* REX */
        at++;
    if (at + 1 < length && code[at] == 0x0F)
        return two_byte_class(code[at + 1]);
    if (at < length && ((code[at] & 0xF0) == 0x70 || code[at] == 0xE8 || code[at] == 0xE9
                        || code[at] == 0xEB || code[at] == 0xC3 || code[at] == 0xFF))
        return X86_BRANCH;                            /* 0xFF: most are indirect calls */
    return NONE;
}
