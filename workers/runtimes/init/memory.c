/* Resident memory: what the sandbox's processes hold, shared memory included, the files in /tmp not.
 *
 * The container's own limit has to leave room for a full /tmp, so it cannot be the function's limit; this is. A tmpfs
 * is counted as `shmem` by the cgroup, hence: anonymous + shmem - what /tmp holds. Read from the container's own
 * cgroup, and where there is none to see (gVisor), summed over its processes.
 */
#include "init.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { TICK_MS = 50, TICK_MS_MAX = 400, STILL_TICKS = 10, TEXT = 8192 };
#define NOTABLE (256 * 1024)

static const struct layout {
	const char *stat, *events, *anonymous, *shared;
} layouts[] = {
	{"/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory.events", "anon ", "shmem "},
	{"/sys/fs/cgroup/memory/memory.stat", "/sys/fs/cgroup/memory/memory.oom_control", "total_rss ", "total_shmem "},
};
static const struct layout *layout;
static int stat_fd = -1, events_fd = -1;
static uint64_t limit, last_sample, last_said;
static unsigned still;

void memory_open(void)
{
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
		stat_fd = open(layouts[i].stat, O_RDONLY | O_CLOEXEC);
		if (stat_fd < 0)
			continue;
		layout = &layouts[i];
		events_fd = open(layout->events, O_RDONLY | O_CLOEXEC);
		return;
	}
}

/* The number after `name` at the start of a line; 0 where it is not said. */
static uint64_t value_of(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, name, length))
			return strtoull(line + length, NULL, 10);
	}
	return 0;
}

static bool slurp(int fd, char *text)
{
	ssize_t got = fd < 0 ? -1 : pread(fd, text, TEXT - 1, 0);

	if (got <= 0)
		return false;
	text[got] = 0;
	return true;
}

/* Without a cgroup to read: the sum over the processes, which counts shared pages more than once. */
static uint64_t sum_over_processes(void)
{
	uint64_t pages = 0, size, resident;
	struct dirent *entry;
	DIR *folder = opendir("/proc");

	while (folder && (entry = readdir(folder))) {
		char name[64], text[TEXT];
		int fd, pid = atoi(entry->d_name);

		if (pid <= 1)
			continue;
		snprintf(name, sizeof name, "/proc/%d/statm", pid);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (slurp(fd, text) && sscanf(text, "%lu %lu", &size, &resident) == 2)
			pages += resident;
		if (fd >= 0)
			close(fd);
	}
	if (folder)
		closedir(folder);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t resident(void)
{
	char text[TEXT];
	struct statvfs tmp;
	uint64_t shared, files = 0;

	if (!layout || !slurp(stat_fd, text))
		return sum_over_processes();
	shared = value_of(text, layout->shared);
	if (!statvfs("/tmp", &tmp))
		files = (uint64_t)(tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize;
	return value_of(text, layout->anonymous) + (shared > files ? shared - files : 0);
}

void memory_limit(uint64_t bytes)
{
	limit = bytes;
	still = 0;
}

/* Takes a sample where there is something to watch. Returns after how many ms it wants the next; -1: not at all.
 *
 * A function whose memory stays as it is gets looked at less often; how much it can gain unseen in that time is
 * bounded by its share of the processor, and by the container's limit.
 */
int memory_tick(void)
{
	uint64_t now, moved;
	int wait = TICK_MS;

	if (!limit || !runtime_alive())
		return -1;
	now = resident();
	moved = now > last_sample ? now - last_sample : last_sample - now;
	last_sample = now;
	still = moved >= NOTABLE ? 0 : still + 1;
	moved = now > last_said ? now - last_said : last_said - now;
	if (moved >= NOTABLE) {
		last_said = now;
		control_memory(now);
	}
	if (now > limit)
		runtime_out_of_memory();
	for (unsigned ticks = still; ticks >= STILL_TICKS && wait < TICK_MS_MAX; ticks -= STILL_TICKS)
		wait *= 2;
	return wait;
}

/* Whether the kernel itself ended a process here for lack of memory. */
bool memory_killed_by_kernel(void)
{
	char text[TEXT];

	return slurp(events_fd, text) && value_of(text, "oom_kill ") > 0;
}
