// SPDX-License-Identifier: Apache-2.0
/*
 * Do threads, forks, programs and signals get along while timers expire?
 *
 * Threads sleep and write memory of their own, each is sent a signal, and meanwhile
 * processes are forked, which exit, run another program, or are killed. In the end a
 * process with threads runs another program.
 *
 * Prints "threads N wrong N" and exits 1 if memory or how a process ended was wrong.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 100, NAPS = 20, CHILDREN = 60, BYTES = 1 << 16, STATUS = 3 };

static volatile int wrong;

static void handler(int signal)
{
	(void)signal;
}

static void nap(void)
{
	struct timespec millisecond = { .tv_nsec = 1000000 };

	nanosleep(&millisecond, NULL);
}

static void *thread(void *unused)
{
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < NAPS; i++) {
		memset(p, i, BYTES);
		nap();
		wrong += p[0] != i || p[BYTES - 1] != i;
	}
	munmap(p, BYTES);
	return unused;
}

static void start(pthread_t *threads, int count)
{
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, thread, NULL))
			_exit(1);
}

static void run_true(void)
{
	execl("/bin/true", "true", NULL);
	_exit(1);
}

/* Fork one that ends in one of four ways, and see that it did. */
static void child(int way)
{
	pthread_t threads[8];
	int status, ended;
	pid_t pid = fork();

	if (pid == 0) {
		if (way == 1)
			run_true();
		while (way == 2)
			pause();
		if (way == 3) {
			start(threads, 8);
			nap();
			run_true();
		}
		_exit(STATUS);
	}
	nap();
	if (way == 2)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (way == 2)
		ended = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	else
		ended = WIFEXITED(status) && WEXITSTATUS(status) == (way ? 0 : STATUS);
	wrong += !ended;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	pthread_t threads[THREADS];

	sigaction(SIGUSR1, &action, NULL);
	start(threads, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_kill(threads[i], SIGUSR1);
	for (int i = 0; i < CHILDREN; i++)
		child(i % 4);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("threads %d wrong %d\n", THREADS, wrong);
	return wrong != 0;
}
