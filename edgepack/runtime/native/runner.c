/* Run ONNX models on a device that has no Python, or count what a run executes.
 *
 *     runner run [--repeat N] [--carry OUTPUT INPUT]... MODEL SAMPLES OUTPUTS
 *     runner time ...   (timer.c)
 *     runner version
 *
 * SAMPLES and OUTPUTS are wire files (wire.h), one record per sample. With --carry, a record that
 * lacks INPUT gets what OUTPUT was for the record before; one that holds it starts a sequence.
 * With --repeat, every record runs N times and its last outputs are written. One thread, the CPU
 * provider, all graph optimizations. A failure is one line on stderr, and the exit code tells
 * whose it was: 2 the command line, 3 the model or a sample it does not take, 4 the files.
 *
 * The process ends after one job: what lives as long as it does is left to the kernel.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "timer.h"

typedef struct {
    const char *output, *input;
    size_t index;      /* of the output */
    OrtValue *value;   /* from the record before; NULL before the first */
} Carry;

typedef struct {
    unsigned long repeat;
    size_t carry_count;
    Carry *carries;
    const char *model, *samples, *outputs;
} Job;

static _Noreturn void usage(void)
{
    fail(BAD_USAGE, "usage: runner run [--repeat N] [--carry OUTPUT INPUT]... "
                    "MODEL SAMPLES OUTPUTS | time ... | version");
}

static Job parse(int argc, char **argv)
{
    Job job = {.repeat = 1, .carries = allocate((size_t)argc, sizeof(Carry))};
    char **at = argv, **end = argv + argc;

    for (;;) {
        if (end - at > 2 && strcmp(*at, "--repeat") == 0) {
            job.repeat = strtoul(at[1], NULL, 10);
            at += 2;
        } else if (end - at > 3 && strcmp(*at, "--carry") == 0) {
            job.carries[job.carry_count++] = (Carry){.output = at[1], .input = at[2]};
            at += 3;
        } else {
            break;
        }
    }
    if (end - at != 3 || job.repeat == 0)
        usage();
    job.model = at[0];
    job.samples = at[1];
    job.outputs = at[2];
    return job;
}

static void find_carried_outputs(const Model *model, Job *job)
{
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        while (carry->index < model->output_count
               && strcmp(model->output_names[carry->index], carry->output) != 0)
            carry->index++;
        if (carry->index == model->output_count)
            fail(BAD_MODEL, "%s has no output '%s' to carry", model->path, carry->output);
    }
}

static bool holds(const Inputs *inputs, const char *name)
{
    for (size_t i = 0; i < inputs->count; i++)
        if (strcmp(inputs->names[i], name) == 0)
            return true;
    return false;
}

/* Move the state of the record before into the inputs, where this record lacks it. */
static void feed_state(const Runtime *rt, Job *job, Inputs *inputs)
{
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        if (holds(inputs, carry->input)) {
            rt->api->ReleaseValue(carry->value);   /* a sequence begins; NULL is allowed */
        } else {
            if (!carry->value)
                fail(BAD_FILES, "%s: the first record lacks '%s'", job->samples, carry->input);
            inputs->names[inputs->count] = carry->input;
            inputs->values[inputs->count++] = carry->value;
        }
        carry->value = NULL;
    }
}

static void write_output(const Runtime *rt, Writer *out, const char *name, OrtValue *value)
{
    const OrtApi *api = rt->api;
    Tensor tensor = {.name = name};
    OrtShape *shape;
    int64_t *dims;
    int type, is_tensor = 0;

    if (value)   /* NULL is an optional output that is absent */
        check(rt, api->IsTensor(value, &is_tensor), name);
    if (!is_tensor)
        fail(BAD_MODEL, "output '%s' is not a tensor", name);
    check(rt, api->GetTensorTypeAndShape(value, &shape), name);
    check(rt, api->GetTensorElementType(shape, &type), name);
    check(rt, api->GetDimensionsCount(shape, &tensor.rank), name);
    dims = allocate(tensor.rank, sizeof *dims);
    check(rt, api->GetDimensions(shape, dims, tensor.rank), name);
    check(rt, api->GetTensorMutableData(value, &tensor.data), name);
    tensor.type = (uint32_t)type;
    tensor.dims = dims;
    put_tensor(out, tensor);
    free(dims);
    api->ReleaseShape(shape);
}

/* Write the outputs of one record and keep those that the next one may want. */
static void deliver(const Model *model, Job *job, Writer *out, OrtValue **outputs)
{
    put_record(out, (uint32_t)model->output_count);
    for (size_t k = 0; k < model->output_count; k++)
        write_output(model->rt, out, model->output_names[k], outputs[k]);
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        carry->value = outputs[carry->index];
        outputs[carry->index] = NULL;
    }
    release_outputs(model, outputs);
}


static void run_records(int argc, char **argv)
{
    Job job = parse(argc, argv);
    uint32_t records;
    Reader in = open_reader(job.samples, &records);
    Runtime rt = start_runtime();
    Model model = open_model(&rt, &(Opening){.path = job.model, .threads = 1,
                                             .level = ORT_OPTIMIZE_ALL});
    Writer out = open_writer(job.outputs, records);
    OrtValue **outputs = allocate(model.output_count, sizeof(OrtValue *));

    find_carried_outputs(&model, &job);
    for (uint32_t record = 0; record < records; record++) {
        Inputs inputs = read_inputs(&rt, &in, job.carry_count);
        feed_state(&rt, &job, &inputs);
        for (unsigned long i = 0; i < job.repeat; i++) {
            release_outputs(&model, outputs);
            run_model(&model, &inputs, outputs);
        }
        deliver(&model, &job, &out, outputs);
        release_inputs(&rt, &inputs);
    }
    close_reader(&in);
    close_writer(&out);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "run") == 0)
        run_records(argc - 2, argv + 2);
    else if (strcmp(what, "time") == 0)
        time_sessions(argv + 2);
    else if (strcmp(what, "version") == 0)
        say("version %s", runtime_version());
    else
        usage();
    return 0;
}
