/* Process 1 of every sandbox. See init.c for what it does, README.md for what it says on its control connection. */
#ifndef LAMBENT_INIT_H
#define LAMBENT_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOLDER "/run/lambent/"
#define CHANNEL_FD 3

/* What an epoll event belongs to: the high half of its data; the low half is an index. */
enum source { FROM_CONTROL, FROM_SIGNAL, FROM_LISTENER, FROM_LINK };
#define EVENT_DATA(source, index) (((uint64_t)(source) << 32) | (uint32_t)(index))

/* die.c */
_Noreturn void die(const char *what);
int unix_connect(const char *path, int flags);

/* control.c: the connection to the worker */
int control_open(void);
void control_hello(int output_read_fd);
void control_exited(int wait_status, bool out_of_memory);
void control_memory(uint64_t bytes);
bool control_read(void);

/* runtime.c: the one process that is run here, and all that it leaves behind */
int runtime_open(void);
void runtime_spawn(char *strings, size_t length, uint32_t arguments);
void runtime_reap(void);
bool runtime_alive(void);
void runtime_out_of_memory(void);

/* memory.c: resident memory apart from /tmp, and the limit on it */
void memory_open(void);
void memory_limit(uint64_t bytes);
int memory_tick(void);
bool memory_killed_by_kernel(void);

/* relay.c: loopback TCP in, Unix socket out */
void relay_open(int epoll);
void relay_accept(unsigned listener);
void relay_pump(unsigned link);
bool relay_pump_pending(void);

#endif
