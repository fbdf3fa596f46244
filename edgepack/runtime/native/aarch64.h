/* Classes of A64 instructions. Included by plugin.c alone.
 *
 * A class is every instruction with (word & mask) == value; the first match decides, so narrow
 * classes stand above the wide encoding groups that contain them.
 * Source: Arm Architecture Reference Manual, section C4.1, "A64 instruction set encoding". */
enum { USDOT = 1, DOT, MMLA, FMLA, IMLAL, SME, SVE, SIMD, MEMORY, BRANCH };
static const char *const A64_NAMES[] = {"total", "usdot", "dot", "mmla",   "fmla",  "imlal",
                                        "sme",   "sve",   "simd", "memory", "branch", NULL};
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

enum { A64_WIDTH = 16 };   /* bytes of a vector register, the most that one access moves */

static int a64_class(const uint8_t *code, size_t length, unsigned *width)
{
    uint32_t word;

    (void)length;
    *width = A64_WIDTH;
    memcpy(&word, code, sizeof word);
    for (size_t i = 0; i < sizeof PATTERNS / sizeof *PATTERNS; i++)
        if ((word & PATTERNS[i].mask) == PATTERNS[i].value)
            return PATTERNS[i].class;
    return NONE;
}
