/* Loopback TCP in, Unix socket out: the Runtime API and the platform's public API, for clients that want TCP.
 *
 * Bytes are carried, never read. Everything is bounded: connections by the table, memory by a buffer for each
 * direction; a side that does not read stops the other. Events are edge-triggered, so a connection on which nothing
 * can move costs nothing.
 */
#define _GNU_SOURCE
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS = 128, BUFFER = 32 * 1024, ROUNDS = 32 };

static const struct {
	uint16_t port;
	const char *path;
} routes[] = {
	{9001, FOLDER "runtime.sock"},
	{4566, FOLDER "api.sock"},
};
enum { ROUTES = sizeof routes / sizeof *routes };

/* What was read from one side and waits for the other. */
struct flow {
	size_t start, end;
	bool ended, passed_on;
	char data[BUFFER];
};
static struct link {
	bool used, again;
	int fd[2];
	struct flow from[2];
} links[LINKS];
static int epoll_fd, listeners[ROUTES];
static unsigned used, pending;

void relay_open(int epoll)
{
	epoll_fd = epoll;
	for (unsigned i = 0; i < ROUTES; i++) {
		struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(routes[i].port)};
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT_DATA(FROM_LISTENER, i)};
		int one = 1;

		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (listeners[i] < 0)
			die("cannot make a listener");
		setsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(listeners[i], (struct sockaddr *)&address, sizeof address) < 0 || listen(listeners[i], 64) < 0)
			die("cannot listen on loopback");
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i], &event) < 0)
			die("cannot watch a listener");
	}
}

/* A full table leaves further callers in the listeners' queues, unwatched, until a place is free. */
static void watch_listeners(bool watch)
{
	for (unsigned i = 0; i < ROUTES; i++) {
		struct epoll_event event = {.events = watch ? EPOLLIN : 0, .data.u64 = EVENT_DATA(FROM_LISTENER, i)};

		epoll_ctl(epoll_fd, EPOLL_CTL_MOD, listeners[i], &event);
	}
}

static void hang_up(struct link *link)
{
	close(link->fd[0]);
	close(link->fd[1]);
	if (link->again)
		pending--;
	link->used = link->again = false;
	if (used-- == LINKS)
		watch_listeners(true);
}

void relay_accept(unsigned listener)
{
	unsigned index = 0;
	struct link *link;
	int inner, outer, one = 1;

	if (used == LINKS)
		return;
	while (links[index].used)
		index++;
	link = &links[index];
	inner = accept4(listeners[listener], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (inner < 0)
		return;
	outer = unix_connect(routes[listener].path, SOCK_NONBLOCK);
	if (outer < 0) {
		close(inner);
		return;
	}
	setsockopt(inner, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	link->used = true;
	link->again = false;
	link->fd[0] = inner;
	link->fd[1] = outer;
	for (unsigned side = 0; side < 2; side++) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					    .data.u64 = EVENT_DATA(FROM_LINK, index)};

		link->from[side].start = link->from[side].end = 0;
		link->from[side].ended = link->from[side].passed_on = false;
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, link->fd[side], &event);
	}
	if (++used == LINKS)
		watch_listeners(false);
}

/* Moves what can be moved in one direction. Returns 1 where something moved, 0 where not, -1 where it is broken. */
static int move(struct link *link, unsigned side)
{
	struct flow *flow = &link->from[side];
	ssize_t count;
	int moved = 0;

	if (flow->start == flow->end && !flow->ended) {
		count = recv(link->fd[side], flow->data, BUFFER, 0);
		if (count < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		flow->ended = count == 0;
		flow->start = 0;
		flow->end = count > 0 ? (size_t)count : 0;
		moved = count >= 0;
	}
	if (flow->start < flow->end) {
		count = send(link->fd[1 - side], flow->data + flow->start, flow->end - flow->start, MSG_NOSIGNAL);
		if (count < 0)
			return errno == EAGAIN || errno == EINTR ? moved : -1;
		flow->start += (size_t)count;
		moved = 1;
	}
	if (flow->ended && !flow->passed_on && flow->start == flow->end) {
		shutdown(link->fd[1 - side], SHUT_WR);
		flow->passed_on = true;
	}
	return moved;
}

/* Carries until nothing moves any more, or others must have their turn. */
void relay_pump(unsigned index)
{
	struct link *link = &links[index];
	int there = 1, back = 1;

	if (!link->used)
		return;
	for (unsigned round = 0; (there || back) && round < ROUNDS; round++) {
		there = move(link, 0);
		back = move(link, 1);
		if (there < 0 || back < 0 || (link->from[0].passed_on && link->from[1].passed_on)) {
			hang_up(link);
			return;
		}
	}
	if (link->again != (there || back)) {
		link->again = there || back;
		pending += link->again ? 1 : -1U;
	}
}

/* Gives a turn to every connection that stopped for the others' sake. Returns whether some still wait. */
bool relay_pump_pending(void)
{
	for (unsigned i = 0; pending && i < LINKS; i++)
		if (links[i].used && links[i].again)
			relay_pump(i);
	return pending > 0;
}
