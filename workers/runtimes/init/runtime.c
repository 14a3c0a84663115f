/* The runtime's process: started once, watched, and cleaned up after. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STRINGS_MAX = 4096 };

static int channel_fd = -1, output_fd = -1;
static pid_t runtime_pid;
static bool spawned, out_of_memory;

/* Makes the runtime's channel and output. Returns the read end of the output, or -1 where it must stay in here. */
int runtime_open(void)
{
	int ends[2];

	channel_fd = unix_connect(FOLDER "channel.sock", 0);
	if (channel_fd < 0)
		die("cannot open the channel");
	/* Where a descriptor cannot be passed out (gVisor), the worker offers a socket for the output instead. */
	output_fd = unix_connect(FOLDER "output.sock", 0);
	if (output_fd >= 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("cannot make a pipe");
	output_fd = ends[1];
	return ends[0];
}

static _Noreturn void complain(const char *what, const char *name)
{
	dprintf(2, "%s %s: %s\n", what, name, strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* In the new process. Nothing of init's is left open in it but the channel and the output. */
static _Noreturn void become(const char *folder, char **argv, char **env)
{
	sigset_t none;
	int null, score;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, 0) < 0 || dup2(output_fd, 1) < 0 || dup2(output_fd, 2) < 0)
		_exit(126);
	if (channel_fd == CHANNEL_FD)
		fcntl(CHANNEL_FD, F_SETFD, 0);
	else if (dup2(channel_fd, CHANNEL_FD) < 0)
		_exit(126);
	if (close_range(CHANNEL_FD + 1, ~0U, 0) < 0)
		for (int fd = CHANNEL_FD + 1; fd < 4096; fd++)
			close(fd);
	/* The kernel, should it have to choose, ends the function and not init; a process that cannot be dumped may
	 * not write its own score. */
	prctl(PR_SET_DUMPABLE, 1);
	score = open("/proc/self/oom_score_adj", O_WRONLY);
	if (score >= 0) {
		if (write(score, "500", 3) != 3)
			dprintf(2, "init: the score for the kernel's choice stays as it is\n");
		close(score);
	}
	umask(022);
	if (chdir(folder) < 0)
		complain("cannot enter", folder);
	environ = env;
	execvp(argv[0], argv);
	complain("cannot run", argv[0]);
}

/* `strings`: working folder, `arguments` arguments, then NAME=value pairs, each ended by a zero. */
void runtime_spawn(char *strings, size_t length, uint32_t arguments)
{
	static char *table[STRINGS_MAX + 2];
	char **fill = table, *at = strings, *end = strings + length, *folder = strings;
	uint32_t count = 0;

	if (spawned || arguments < 1 || arguments > STRINGS_MAX / 2) {
		errno = EPROTO;
		die("the worker asked for a process that cannot be");
	}
	for (at += strlen(at) + 1; at < end && count < STRINGS_MAX; at += strlen(at) + 1) {
		*fill++ = at;
		if (++count == arguments)
			*fill++ = NULL;
	}
	*fill = NULL;
	if (count < arguments) {
		errno = EPROTO;
		die("the worker sent too few arguments");
	}
	spawned = true;
	runtime_pid = fork();
	if (runtime_pid == 0)
		become(folder, table, table + arguments + 1);
	if (runtime_pid < 0)
		die("cannot fork");
	/* The worker sees the ends of both when the function's own processes are gone. */
	close(channel_fd);
	close(output_fd);
}

bool runtime_alive(void)
{
	return runtime_pid > 0;
}

/* Ends every process but init, because together they hold more memory than the function has. */
void runtime_out_of_memory(void)
{
	out_of_memory = true;
	kill(-1, SIGKILL);
}

/* Collects what has ended. With the runtime's process goes everything that it started. */
void runtime_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != runtime_pid)
			continue;
		runtime_pid = 0;
		kill(-1, SIGKILL);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && memory_killed_by_kernel())
			out_of_memory = true;
		control_exited(status, out_of_memory);
	}
}
