/* Wire files: tensors between Python and the runner; the layout is in edgepack/runtime/wire.py.
 *
 * Little endian, read in place: every header and every block of data begins at a multiple of 64
 * bytes. Each function here ends the process with one line on stderr when it cannot do its work.
 */
#ifndef EDGEPACK_WIRE_H
#define EDGEPACK_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char *path;
    char *bytes;
    size_t size, at;
} Reader;

typedef struct {
    const char *path;
    FILE *file;
    size_t at;
} Writer;

/* One tensor; `type` is ONNX's TensorProto.DataType. */
typedef struct {
    const char *name;
    uint32_t type;
    size_t rank, bytes;
    const int64_t *dims;
    void *data;
} Tensor;

/* Exit codes: whose fault it was. */
enum { BAD_USAGE = 2, BAD_MODEL = 3, BAD_FILES = 4 };

_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *allocate(size_t count, size_t size);

Reader open_reader(const char *path, uint32_t *records);
uint32_t take_record(Reader *in);         /* the number of tensors that follow */
Tensor take_tensor(Reader *in);           /* points into the reader's memory */
void close_reader(const Reader *in);      /* fails where bytes are left over */

Writer open_writer(const char *path, uint32_t records);
void put_record(Writer *out, uint32_t tensors);
void put_tensor(Writer *out, Tensor tensor);   /* sets `bytes` itself */
void close_writer(const Writer *out);

#endif
