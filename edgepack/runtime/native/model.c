/* A model that ONNX Runtime has opened, see model.h.
 *
 * Built with -DREGION_MARKERS, each run lies between two system calls that the counting plugin
 * for qemu-user (plugin.c) understands.
 */
#include "model.h"

#include <stdlib.h>

#ifdef REGION_MARKERS
#include <unistd.h>
enum { MARKER = 7777, REGION_BEGIN = 1, REGION_END = 2 };   /* no kernel has this call */
#define MARK(what) ((void)syscall(MARKER, what))
#else
#define MARK(what) ((void)0)
#endif

void check(const Runtime *rt, OrtStatus *status, const char *what)
{
    if (status)
        fail(BAD_MODEL, "%s: %s", what, rt->api->GetErrorMessage(status));
}

const char *runtime_version(void)
{
    return OrtGetApiBase()->GetVersionString();
}

Runtime start_runtime(void)
{
    Runtime rt = {.api = OrtGetApiBase()->GetApi(ORT_API_VERSION)};

    if (!rt.api)
        fail(BAD_FILES, "ONNX Runtime %s lacks version %d of its C API", runtime_version(),
             ORT_API_VERSION);
    check(&rt, rt.api->CreateEnv(ORT_LOG_FATAL, "edgepack", &rt.env), "environment");
    check(&rt,
          rt.api->CreateCpuMemoryInfo(ORT_DEVICE_ALLOCATOR, ORT_MEMORY_DEFAULT, &rt.memory),
          "memory");
    return rt;
}

static OrtSessionOptions *make_options(const Runtime *rt, const Opening *opening)
{
    const OrtApi *api = rt->api;
    OrtSessionOptions *options;

    check(rt, api->CreateSessionOptions(&options), "options");
    check(rt, api->SetIntraOpNumThreads(options, opening->threads), "threads");
    check(rt, api->SetSessionGraphOptimizationLevel(options, opening->level), "level");
    for (size_t i = 0; i < opening->entry_count; i++) {
        const char *const *entry = opening->entries + 2 * i;
        check(rt, api->AddSessionConfigEntry(options, entry[0], entry[1]), entry[0]);
    }
    return options;
}

static void name_outputs(Model *model)
{
    const Runtime *rt = model->rt;
    OrtAllocator *allocator;

    check(rt, rt->api->GetAllocatorWithDefaultOptions(&allocator), model->path);
    check(rt, rt->api->SessionGetOutputCount(model->session, &model->output_count), model->path);
    model->output_names = allocate(model->output_count, sizeof *model->output_names);
    for (size_t k = 0; k < model->output_count; k++)
        check(rt,
              rt->api->SessionGetOutputName(model->session, k, allocator,
                                            &model->output_names[k]),
              model->path);
}

Model open_model(const Runtime *rt, const Opening *opening)
{
    Model model = {.rt = rt, .path = opening->path};
    OrtSessionOptions *options = make_options(rt, opening);

    check(rt, rt->api->CreateSession(rt->env, model.path, options, &model.session), model.path);
    rt->api->ReleaseSessionOptions(options);
    name_outputs(&model);
    return model;
}

void close_model(Model *model)
{
    model->rt->api->ReleaseSession(model->session);
    free(model->output_names);   /* the few bytes of each name stay until the process ends */
}

Inputs read_inputs(const Runtime *rt, Reader *in, size_t spare)
{
    uint32_t tensors = take_record(in);
    Inputs inputs = {.names = allocate(tensors + spare, sizeof(char *)),
                     .values = allocate(tensors + spare, sizeof(OrtValue *))};

    for (; inputs.count < tensors; inputs.count++) {
        Tensor tensor = take_tensor(in);
        OrtStatus *status = rt->api->CreateTensorWithDataAsOrtValue(
            rt->memory, tensor.data, tensor.bytes, tensor.dims, tensor.rank, (int)tensor.type,
            &inputs.values[inputs.count]);
        check(rt, status, tensor.name);
        inputs.names[inputs.count] = tensor.name;
    }
    return inputs;
}

void release_inputs(const Runtime *rt, Inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++)
        rt->api->ReleaseValue(inputs->values[i]);
    free(inputs->names);
    free(inputs->values);
}

void run_model(const Model *model, const Inputs *inputs, OrtValue **outputs)
{
    OrtStatus *status;

    MARK(REGION_BEGIN);
    status = model->rt->api->Run(model->session, NULL, inputs->names,
                                 (const OrtValue *const *)inputs->values, inputs->count,
                                 (const char *const *)model->output_names, model->output_count,
                                 outputs);
    MARK(REGION_END);
    check(model->rt, status, model->path);
}

void release_outputs(const Model *model, OrtValue **outputs)
{
    for (size_t k = 0; k < model->output_count; k++) {
        model->rt->api->ReleaseValue(outputs[k]);
        outputs[k] = NULL;
    }
}
