/* The ends of init, and the connections that it makes. */
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Ends process 1, and with it every process of the sandbox. */
_Noreturn void die(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* Returns a stream socket connected to `path`, or -1. */
int unix_connect(const char *path, int flags)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		return -1;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}
