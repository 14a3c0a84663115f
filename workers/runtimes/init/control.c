/* The control connection: length (u32, big endian, of type and body) · type (u8) · body, as README.md lists them.
 *
 * It is made before any code of a function can run, and the worker accepts no second one. A worker that goes away
 * ends it, and that ends the sandbox: nothing here outlives its owner.
 */
#include "init.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SPAWN = 1, LIMIT = 2, HELLO = 16, EXITED = 17, MEMORY = 18 };
enum { HEAD = 5, FRAME_MAX = 256 * 1024 };

static int control_fd = -1;
static unsigned char inbox[4 + FRAME_MAX + 1];
static size_t inbox_length;

int control_open(void)
{
	control_fd = unix_connect(FOLDER "init.sock", 0);
	if (control_fd < 0)
		die("cannot reach the worker");
	return control_fd;
}

/* Says one thing; `passed_fd` travels with it unless it is -1. Returns false where it could not be said. */
static bool say(unsigned char type, const void *body, size_t length, int passed_fd, int flags)
{
	unsigned char frame[HEAD + 16];
	uint32_t size = htonl((uint32_t)length + 1);
	char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {.iov_base = frame, .iov_len = HEAD + length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	memcpy(frame, &size, 4);
	frame[4] = type;
	memcpy(frame + HEAD, body, length);
	if (passed_fd >= 0) {
		struct cmsghdr *head;

		message.msg_control = room;
		message.msg_controllen = sizeof room;
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &passed_fd, sizeof(int));
	}
	return sendmsg(control_fd, &message, flags | MSG_NOSIGNAL) == (ssize_t)part.iov_len;
}

/* The first word: 1 where the output's read end comes with it, 0 where output goes to output.sock. */
void control_hello(int output_read_fd)
{
	unsigned char passes = output_read_fd >= 0;

	if (!say(HELLO, &passes, 1, output_read_fd, 0))
		die("cannot greet the worker");
}

void control_exited(int wait_status, bool out_of_memory)
{
	unsigned char body[3];

	body[0] = WIFSIGNALED(wait_status) ? 1 : 0;
	body[1] = WIFSIGNALED(wait_status) ? (unsigned char)WTERMSIG(wait_status) : (unsigned char)WEXITSTATUS(wait_status);
	body[2] = out_of_memory;
	if (!say(EXITED, body, sizeof body, -1, 0))
		die("cannot report the end");
}

/* A sample; it may be lost where the worker does not read, the next one says it better. */
void control_memory(uint64_t bytes)
{
	uint64_t body = htobe64(bytes);

	say(MEMORY, &body, sizeof body, -1, MSG_DONTWAIT);
}

static void obey(unsigned char type, unsigned char *body, size_t length)
{
	uint32_t arguments;
	uint64_t bytes;

	if (type == SPAWN && length > 4) {
		memcpy(&arguments, body, 4);
		runtime_spawn((char *)body + 4, length - 4, ntohl(arguments));
	} else if (type == LIMIT && length == 8) {
		memcpy(&bytes, body, 8);
		memory_limit(be64toh(bytes));
	} else {
		errno = EPROTO;
		die("the worker said something unknown");
	}
}

/* Reads what there is and does what it says. Returns false once the worker is gone. */
bool control_read(void)
{
	ssize_t got = recv(control_fd, inbox + inbox_length, sizeof inbox - 1 - inbox_length, MSG_DONTWAIT);
	size_t at = 0;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	inbox_length += (size_t)got;
	while (inbox_length - at >= HEAD) {
		uint32_t size;
		unsigned char *end, after;

		memcpy(&size, inbox + at, 4);
		size = ntohl(size);
		if (size < 1 || size > FRAME_MAX) {
			errno = EPROTO;
			die("the worker sent a frame out of bounds");
		}
		if (inbox_length - at < 4 + (size_t)size)
			break;
		end = inbox + at + 4 + size; /* the strings of a frame end in a zero, whatever was sent */
		after = *end;
		*end = 0;
		obey(inbox[at + 4], inbox + at + HEAD, size - 1);
		*end = after;
		at += 4 + size;
	}
	memmove(inbox, inbox + at, inbox_length - at);
	inbox_length -= at;
	return true;
}
