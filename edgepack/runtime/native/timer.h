/* Timing of fresh sessions, see timer.c. */
#ifndef EDGEPACK_TIMER_H
#define EDGEPACK_TIMER_H

void time_sessions(char **arguments);   /* NULL ends them */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
