// SPDX-License-Identifier: Apache-2.0
/*
 * Does one kind of thing N times: costs KIND N. The guest's clock cannot tell
 * what that takes on the host, so measure.py times the whole guest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void syscalls(long count)
{
	while (count--)
		syscall(SYS_getppid);
}

static void pages(long count)
{
	char *p = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	for (long i = 0; i < count; i++)
		p[i * 4096] = 1;
}

static void execs(long count)
{
	while (count--) {
		pid_t child = fork();

		if (!child) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? atol(argv[2]) : -1;

	if (count < 0)
		return 2;
	if (!strcmp(argv[1], "syscalls"))
		syscalls(count);
	else if (!strcmp(argv[1], "pages"))
		pages(count);
	else if (!strcmp(argv[1], "execs"))
		execs(count);
	else
		return 2;
	return 0;
}
