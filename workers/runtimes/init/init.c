/* Process 1 of every sandbox: a small static program without any library or parser.
 *
 * It connects to its worker, once, before any code of a function runs; starts the runtime's process when told to;
 * reports its end and its memory; carries loopback connections to the worker's sockets; and ends, with everything in
 * the sandbox, when the worker does. The function runs under the same user, yet can neither trace it (it is not
 * dumpable) nor end it (process 1 gets no signal from its own namespace that it does not ask for).
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 32 };

static void watch(int epoll, int fd, enum source source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT_DATA(source, 0)};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("cannot watch a descriptor");
}

static int watch_children(void)
{
	sigset_t children;
	int fd;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("cannot watch children");
	return fd;
}

static void handle(const struct epoll_event *event, int signal_fd)
{
	struct signalfd_siginfo info;
	uint32_t index = (uint32_t)event->data.u64;

	switch ((enum source)(event->data.u64 >> 32)) {
	case FROM_CONTROL:
		if (!control_read())
			_exit(0);
		break;
	case FROM_SIGNAL:
		while (read(signal_fd, &info, sizeof info) > 0)
			;
		runtime_reap();
		break;
	case FROM_LISTENER:
		relay_accept(index);
		break;
	case FROM_LINK:
		relay_pump(index);
		break;
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(void)
{
	struct epoll_event events[EVENTS];
	int epoll, signal_fd, output;
	int64_t next_sample = 0;

	prctl(PR_SET_DUMPABLE, 0);
	signal_fd = watch_children();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		die("cannot make an epoll");
	memory_open();
	relay_open(epoll);
	watch(epoll, signal_fd, FROM_SIGNAL);
	watch(epoll, control_open(), FROM_CONTROL);
	output = runtime_open();
	control_hello(output);
	if (output >= 0)
		close(output);
	for (;;) {
		bool waiting = relay_pump_pending();
		int64_t now = now_ms();
		int count, wait = -1;

		if (now >= next_sample) {
			wait = memory_tick();
			next_sample = wait < 0 ? 0 : now + wait;
		} else {
			wait = (int)(next_sample - now);
		}
		count = epoll_wait(epoll, events, EVENTS, waiting ? 0 : wait);
		if (count < 0 && errno != EINTR)
			die("cannot wait");
		for (int i = 0; i < count; i++)
			handle(&events[i], signal_fd);
	}
}
