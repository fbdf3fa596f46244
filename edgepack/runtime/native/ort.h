/* The part of ONNX Runtime's C ABI that the runner calls, declared by slot.
 *
 * OrtApi is a table of function pointers that only ever grows at its end, so a slot number holds
 * for every release since the one that added it. All slots here are in API version 1 to 12, which
 * every runtime from 1.12 on answers for; functions we do not call are unnamed gaps.
 * Source: onnxruntime_c_api.h, "OrtApi" and the assertions that pin its layout in
 * onnxruntime_c_api.cc.
 */
#ifndef EDGEPACK_ORT_H
#define EDGEPACK_ORT_H

#include <stddef.h>
#include <stdint.h>

enum { ORT_API_VERSION = 12 };
enum { ORT_LOG_FATAL = 4 };          /* errors reach us as statuses; the log would repeat them */
enum { ORT_OPTIMIZE_NONE = 0, ORT_OPTIMIZE_BASIC = 1, ORT_OPTIMIZE_EXTENDED = 2,
       ORT_OPTIMIZE_ALL = 99 };
enum { ORT_DEVICE_ALLOCATOR = 0, ORT_MEMORY_DEFAULT = 0 };

typedef struct OrtStatus OrtStatus;   /* NULL is success */
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape;     /* OrtTensorTypeAndShapeInfo */

typedef struct {
    void *gap_0[2];
    const char *(*GetErrorMessage)(const OrtStatus *);                                  /*  2 */
    OrtStatus *(*CreateEnv)(int severity, const char *name, OrtEnv **);                 /*  3 */
    void *gap_4[3];
    OrtStatus *(*CreateSession)(const OrtEnv *, const char *path, const OrtSessionOptions *,
                                OrtSession **);                                         /*  7 */
    void *gap_8;
    OrtStatus *(*Run)(OrtSession *, const OrtRunOptions *,
                      const char *const *input_names, const OrtValue *const *inputs,
                      size_t input_count, const char *const *output_names,
                      size_t output_count, OrtValue **outputs);                         /*  9 */
    OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **);                           /* 10 */
    void *gap_11[12];
    OrtStatus *(*SetSessionGraphOptimizationLevel)(OrtSessionOptions *, int level);     /* 23 */
    OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *, int threads);               /* 24 */
    void *gap_25[6];
    OrtStatus *(*SessionGetOutputCount)(const OrtSession *, size_t *);                  /* 31 */
    void *gap_32[5];
    OrtStatus *(*SessionGetOutputName)(const OrtSession *, size_t index, OrtAllocator *,
                                       char **);                                        /* 37 */
    void *gap_38[11];
    OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *data, size_t bytes,
                                                 const int64_t *dims, size_t rank, int type,
                                                 OrtValue **);                          /* 49 */
    OrtStatus *(*IsTensor)(const OrtValue *, int *);                                    /* 50 */
    OrtStatus *(*GetTensorMutableData)(OrtValue *, void **);                            /* 51 */
    void *gap_52[8];
    OrtStatus *(*GetTensorElementType)(const OrtShape *, int *);                        /* 60 */
    OrtStatus *(*GetDimensionsCount)(const OrtShape *, size_t *);                       /* 61 */
    OrtStatus *(*GetDimensions)(const OrtShape *, int64_t *, size_t rank);              /* 62 */
    void *gap_63[2];
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtShape **);                 /* 65 */
    void *gap_66[3];
    OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int memory, OrtMemoryInfo **);     /* 69 */
    void *gap_70[8];
    OrtStatus *(*GetAllocatorWithDefaultOptions)(OrtAllocator **);                      /* 78 */
    void *gap_79[16];
    void (*ReleaseSession)(OrtSession *);                                               /* 95 */
    void (*ReleaseValue)(OrtValue *);                                                   /* 96 */
    void *gap_97[2];
    void (*ReleaseShape)(OrtShape *);             /* ReleaseTensorTypeAndShapeInfo         99 */
    void (*ReleaseSessionOptions)(OrtSessionOptions *);                                 /* 100 */
    void *gap_101[29];
    OrtStatus *(*AddSessionConfigEntry)(OrtSessionOptions *, const char *key,
                                        const char *value);                             /* 130 */
} OrtApi;

typedef struct {
    const OrtApi *(*GetApi)(uint32_t version);    /* NULL where the runtime is older than that */
    const char *(*GetVersionString)(void);
} OrtApiBase;

const OrtApiBase *OrtGetApiBase(void);

#define ORT_SLOT(name, slot)                                             \
    _Static_assert(offsetof(OrtApi, name) == (slot) * sizeof(void *),    \
                   "OrtApi." #name " must be slot " #slot)
ORT_SLOT(GetErrorMessage, 2);
ORT_SLOT(CreateSession, 7);
ORT_SLOT(Run, 9);
ORT_SLOT(SetIntraOpNumThreads, 24);
ORT_SLOT(SessionGetOutputName, 37);
ORT_SLOT(CreateTensorWithDataAsOrtValue, 49);
ORT_SLOT(GetTensorElementType, 60);
ORT_SLOT(GetTensorTypeAndShape, 65);
ORT_SLOT(CreateCpuMemoryInfo, 69);
ORT_SLOT(GetAllocatorWithDefaultOptions, 78);
ORT_SLOT(ReleaseValue, 96);
ORT_SLOT(ReleaseShape, 99);
ORT_SLOT(AddSessionConfigEntry, 130);

#endif
