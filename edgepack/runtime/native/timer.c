/* Time fresh sessions, pair by pair; takes and says what runtime/remote/agent.py does.
 *
 * Each model is known by a letter, a to z and then A to Z. A pair opens those that OPENED names,
 * runs each until it is warm, and then takes turns such as "abba" or "200a": --before untimed runs
 * and a timed one. Nothing is said while it times, unless it streams or LONGEST runs are due.
 * What a session returns is released when the clocks have stopped.
 */
#define _GNU_SOURCE   /* RUSAGE_THREAD */
#include "timer.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "model.h"

enum { MODELS = 52, LONGEST = 65536 };
static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

typedef struct {
    const char *opened, *turns;
} Pair;

typedef struct {
    const char *samples;
    unsigned long before, warmup;
    double stream;
    bool one_thread;
    size_t model_count, pair_count;
    Opening models[MODELS];
    Pair *pairs;
} Job;

typedef struct {
    size_t model;
    int64_t wall, cpu;
    long switches;
} Taken;

/* What a pair is at; the samples take turns too. */
typedef struct {
    const Job *job;
    const Runtime *rt;
    Inputs *samples;
    size_t sample_count, taken_count;
    size_t done[MODELS];
    Model models[MODELS];
    OrtValue **outputs[MODELS];
    Taken *taken;
    int64_t told;
} Bout;

static const char *mark(void)
{
    const char *given = getenv("M");

    return given ? given : "edgepack";
}

void say(const char *format, ...)
{
    va_list values;

    printf("\n%s ", mark());
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    printf("\n");
    fflush(stdout);
}

static int64_t now(clockid_t clock)
{
    struct timespec at;

    clock_gettime(clock, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static long switches(bool one_thread)
{
    struct rusage usage;

    getrusage(one_thread ? RUSAGE_THREAD : RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

static int level_of(const char *name)
{
    static const struct { const char *name; int level; } levels[] = {
        {"all", ORT_OPTIMIZE_ALL}, {"extended", ORT_OPTIMIZE_EXTENDED},
        {"basic", ORT_OPTIMIZE_BASIC}, {"disable", ORT_OPTIMIZE_NONE},
    };

    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(levels[i].name, name) == 0)
            return levels[i].level;
    fail(BAD_USAGE, "not a job: no level '%s'", name);
}

static Opening *last_model(Job *job, const char *option)
{
    if (job->model_count == 0)
        fail(BAD_USAGE, "not a job: %s before any --model", option);
    return &job->models[job->model_count - 1];
}

static void add_model(Job *job, const char *path, size_t most_entries)
{
    if (job->model_count == MODELS)
        fail(BAD_USAGE, "not a job: more than %d models", MODELS);
    job->models[job->model_count++] = (Opening){
        .path = path, .threads = 1, .level = ORT_OPTIMIZE_ALL,
        .entries = allocate(2 * most_entries, sizeof(char *)),
    };
}

/* Take one option with its values; returns how many words it took, 0 where it is none. */
static size_t take_option(Job *job, char **at, size_t left)
{
    const char *option = at[0];

    if (left > 2 && strcmp(option, "--entry") == 0) {
        Opening *model = last_model(job, option);
        memcpy(model->entries + 2 * model->entry_count++, at + 1, 2 * sizeof *at);
        return 3;
    }
    if (left > 2 && strcmp(option, "--pair") == 0) {
        job->pairs[job->pair_count++] = (Pair){.opened = at[1], .turns = at[2]};
        return 3;
    }
    if (left < 2)
        return 0;
    if (strcmp(option, "--model") == 0)
        add_model(job, at[1], left / 3);
    else if (strcmp(option, "--threads") == 0)
        last_model(job, option)->threads = atoi(at[1]);
    else if (strcmp(option, "--level") == 0)
        last_model(job, option)->level = level_of(at[1]);
    else if (strcmp(option, "--samples") == 0)
        job->samples = at[1];
    else if (strcmp(option, "--before") == 0)
        job->before = strtoul(at[1], NULL, 10);
    else if (strcmp(option, "--warmup") == 0)
        job->warmup = strtoul(at[1], NULL, 10);
    else if (strcmp(option, "--stream") == 0)
        job->stream = strtod(at[1], NULL);
    else
        return 0;
    return 2;
}

static Job parse(char **arguments)
{
    Job job = {.one_thread = true};
    size_t left = 0, took;

    while (arguments[left])
        left++;
    job.pairs = allocate(left / 3, sizeof *job.pairs);
    for (char **at = arguments; left > 0; at += took, left -= took) {
        took = take_option(&job, at, left);
        if (took == 0)
            fail(BAD_USAGE, "not a job: '%s'", *at);
    }
    if (!job.samples)
        fail(BAD_USAGE, "not a job: no --samples");
    for (size_t k = 0; k < job.model_count; k++)
        job.one_thread &= job.models[k].threads == 1;
    return job;
}

static size_t model_of(const Job *job, char letter)
{
    const char *at = letter ? strchr(LETTERS, letter) : NULL;

    if (!at || (size_t)(at - LETTERS) >= job->model_count)
        fail(BAD_USAGE, "not a job: no model '%c'", letter);
    return (size_t)(at - LETTERS);
}

static void run_once(Bout *bout, size_t model, size_t sample)
{
    run_model(&bout->models[model], &bout->samples[sample % bout->sample_count],
              bout->outputs[model]);
}

/* Open a session and run it until it is warm: the first run allocates and packs. */
static void open_fresh(Bout *bout, size_t model)
{
    char letter = LETTERS[model % 26 + 26];

    say("doing opening %c", letter);
    bout->models[model] = open_model(bout->rt, &bout->job->models[model]);
    bout->outputs[model] = allocate(bout->models[model].output_count, sizeof(OrtValue *));
    bout->done[model] = 0;
    say("doing running %c", letter);
    for (unsigned long i = 0; i < bout->job->warmup; i++) {
        run_once(bout, model, i);
        release_outputs(&bout->models[model], bout->outputs[model]);
    }
}

static void tell(Bout *bout)
{
    printf("\n");
    for (size_t i = 0; i < bout->taken_count; i++) {
        const Taken *taken = &bout->taken[i];
        printf("%s %c %lld %lld %ld\n", mark(), LETTERS[taken->model], (long long)taken->wall,
               (long long)taken->cpu, taken->switches);
    }
    fflush(stdout);
    bout->taken_count = 0;
    bout->told = now(CLOCK_MONOTONIC);
}

/* Run untimed, which brings this model back into the caches, then once timed. */
static void take_turn(Bout *bout, size_t model)
{
    bool one_thread = bout->job->one_thread;
    clockid_t busy = one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID;
    size_t sample = bout->done[model]++;
    Taken taken = {.model = model};

    for (unsigned long i = 0; i < bout->job->before; i++) {
        run_once(bout, model, sample);
        release_outputs(&bout->models[model], bout->outputs[model]);
    }
    taken.switches = switches(one_thread);
    taken.cpu = now(busy);
    taken.wall = now(CLOCK_MONOTONIC);
    run_once(bout, model, sample);
    taken.wall = now(CLOCK_MONOTONIC) - taken.wall;
    taken.cpu = now(busy) - taken.cpu;
    taken.switches = switches(one_thread) - taken.switches;
    release_outputs(&bout->models[model], bout->outputs[model]);
    bout->taken[bout->taken_count++] = taken;
}

static void take_turns(Bout *bout, const char *turns)
{
    const double stream = bout->job->stream;

    bout->told = now(CLOCK_MONOTONIC);
    while (*turns) {
        char *letter;
        unsigned long number = strtoul(turns, &letter, 10);
        size_t model = model_of(bout->job, *letter);
        if (!bout->outputs[model])
            fail(BAD_USAGE, "not a job: '%c' was not opened", *letter);
        for (number = letter == turns ? 1 : number; number > 0; number--) {
            double quiet = 1e-9 * (double)(now(CLOCK_MONOTONIC) - bout->told);
            if (bout->taken_count == LONGEST || (stream > 0 && quiet > stream))
                tell(bout);
            take_turn(bout, model);
        }
        turns = letter + 1;
    }
    tell(bout);
}

static void close_all(Bout *bout)
{
    for (size_t model = 0; model < MODELS; model++)
        if (bout->outputs[model]) {
            close_model(&bout->models[model]);
            free(bout->outputs[model]);
            bout->outputs[model] = NULL;
        }
}

void time_sessions(char **arguments)
{
    const Job job = parse(arguments);
    uint32_t records;
    Reader in = open_reader(job.samples, &records);
    const Runtime rt = start_runtime();
    Bout bout = {.job = &job, .rt = &rt, .sample_count = records};

    if (records == 0)
        fail(BAD_FILES, "%s holds no sample", job.samples);
    bout.samples = allocate(records, sizeof *bout.samples);
    bout.taken = allocate(LONGEST, sizeof *bout.taken);
    for (uint32_t i = 0; i < records; i++)
        bout.samples[i] = read_inputs(&rt, &in, 0);
    for (const Pair *pair = job.pairs; pair < job.pairs + job.pair_count; pair++) {
        int64_t began = now(CLOCK_MONOTONIC);
        for (const char *letter = pair->opened; *letter; letter++)
            open_fresh(&bout, model_of(&job, *letter));
        say("opened %lld", (long long)(now(CLOCK_MONOTONIC) - began));
        take_turns(&bout, pair->turns);
        close_all(&bout);
        say("paired");
    }
}
