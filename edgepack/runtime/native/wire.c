/* Reading and writing wire files, see wire.h. */
#include "wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "wire files are little endian and read in place"
#endif

enum { ALIGN = 64, VERSION = 1 };
static const char MAGIC[8] = "edgewire";

typedef struct {
    char magic[8];
    uint32_t version, records;
} FileHeader;

typedef struct {   /* followed by int64_t dims[rank] and the name with its terminating zero */
    uint32_t type, rank, name_bytes, reserved;
} TensorHeader;

void fail(int code, const char *format, ...)
{
    char line[2048];
    va_list values;

    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    for (char *at = line; *at; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    fprintf(stderr, "runner: %s\n", line);
    exit(code);
}

void *allocate(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);

    if (!block)
        fail(BAD_FILES, "no memory for %zu times %zu bytes", count, size);
    return block;
}

/* Bytes of one element, or 0 for what is not a plain number. */
static size_t element_size(uint32_t type)
{
    static const unsigned char sizes[] = {
        [1] = 4, [2] = 1, [3] = 1,  [4] = 2,  [5] = 2,  [6] = 4,     /* f32 u8 i8 u16 i16 i32 */
        [7] = 8, [9] = 1, [10] = 2, [11] = 8, [12] = 4, [13] = 8,    /* i64 bool f16 f64 u32 u64 */
    };

    return type < sizeof sizes ? sizes[type] : 0;
}

static void measure(Tensor *tensor, const char *path)
{
    tensor->bytes = element_size(tensor->type);
    if (tensor->bytes == 0)
        fail(BAD_FILES, "%s: '%s' has element type %u, not a plain number", path, tensor->name,
             tensor->type);
    for (size_t axis = 0; axis < tensor->rank; axis++) {
        int64_t dim = tensor->dims[axis];
        if (dim < 0 || __builtin_mul_overflow(tensor->bytes, (uint64_t)dim, &tensor->bytes))
            fail(BAD_FILES, "%s: '%s' has an impossible size %lld on axis %zu", path,
                 tensor->name, (long long)dim, axis);
    }
}

static void *take(Reader *in, size_t bytes)
{
    char *here = in->bytes + in->at;

    if (bytes > in->size - in->at)
        fail(BAD_FILES, "%s is truncated: it ends at byte %zu, inside %zu bytes that begin at %zu",
             in->path, in->size, bytes, in->at);
    in->at += bytes;
    return here;
}

static void take_padding(Reader *in)
{
    take(in, (ALIGN - in->at % ALIGN) % ALIGN);
}

static Reader read_whole(const char *path)
{
    Reader in = {.path = path};
    FILE *file = fopen(path, "rb");
    long size = -1;

    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0)
        fail(BAD_FILES, "cannot read %s: %s", path, strerror(errno));
    in.size = (size_t)size;
    in.bytes = aligned_alloc(ALIGN, (in.size / ALIGN + 1) * ALIGN);
    if (!in.bytes)
        fail(BAD_FILES, "no memory for the %zu bytes of %s", in.size, path);
    rewind(file);
    if (fread(in.bytes, 1, in.size, file) != in.size)
        fail(BAD_FILES, "cannot read %s: %s", path, strerror(errno));
    fclose(file);
    return in;
}

Reader open_reader(const char *path, uint32_t *records)
{
    Reader in = read_whole(path);
    const FileHeader *header = take(&in, sizeof *header);

    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->version != VERSION)
        fail(BAD_FILES, "%s is not a wire file of version %d", path, VERSION);
    take_padding(&in);
    *records = header->records;
    return in;
}

uint32_t take_record(Reader *in)
{
    uint32_t tensors;

    memcpy(&tensors, take(in, sizeof tensors), sizeof tensors);
    take_padding(in);
    if (tensors > in->size / ALIGN)   /* each takes at least that much */
        fail(BAD_FILES, "%s is too short for %u tensors", in->path, tensors);
    return tensors;
}

Tensor take_tensor(Reader *in)
{
    const TensorHeader *header = take(in, sizeof *header);
    Tensor tensor = {.type = header->type, .rank = header->rank};

    if (header->rank > in->size / sizeof *tensor.dims || header->name_bytes >= in->size)
        fail(BAD_FILES, "%s is too short for the tensor at byte %zu", in->path, in->at);
    tensor.dims = take(in, header->rank * sizeof *tensor.dims);
    tensor.name = take(in, header->name_bytes + 1);
    if (strnlen(tensor.name, header->name_bytes + 1) != header->name_bytes)
        fail(BAD_FILES, "%s: the name before byte %zu does not end where it says", in->path,
             in->at);
    take_padding(in);
    measure(&tensor, in->path);
    tensor.data = take(in, tensor.bytes);
    take_padding(in);
    return tensor;
}

void close_reader(const Reader *in)
{
    if (in->at != in->size)
        fail(BAD_FILES, "%s has %zu bytes too many", in->path, in->size - in->at);
    free(in->bytes);
}

static void put(Writer *out, const void *bytes, size_t count)
{
    if (fwrite(bytes, 1, count, out->file) != count)
        fail(BAD_FILES, "cannot write %s: %s", out->path, strerror(errno));
    out->at += count;
}

static void put_padding(Writer *out)
{
    static const char zeros[ALIGN];

    put(out, zeros, (ALIGN - out->at % ALIGN) % ALIGN);
}

Writer open_writer(const char *path, uint32_t records)
{
    Writer out = {.path = path, .file = fopen(path, "wb")};
    FileHeader header = {.version = VERSION, .records = records};

    if (!out.file)
        fail(BAD_FILES, "cannot write %s: %s", path, strerror(errno));
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    put(&out, &header, sizeof header);
    put_padding(&out);
    return out;
}

void put_record(Writer *out, uint32_t tensors)
{
    put(out, &tensors, sizeof tensors);
    put_padding(out);
}

void put_tensor(Writer *out, Tensor tensor)
{
    uint32_t name_bytes = (uint32_t)strlen(tensor.name);
    TensorHeader header = {tensor.type, (uint32_t)tensor.rank, name_bytes, 0};

    measure(&tensor, out->path);
    put(out, &header, sizeof header);
    put(out, tensor.dims, tensor.rank * sizeof *tensor.dims);
    put(out, tensor.name, name_bytes + 1);
    put_padding(out);
    put(out, tensor.data, tensor.bytes);
    put_padding(out);
}

void close_writer(const Writer *out)
{
    if (fclose(out->file) != 0)   /* what was still buffered did not fit on the disk */
        fail(BAD_FILES, "cannot write %s: %s", out->path, strerror(errno));
}
