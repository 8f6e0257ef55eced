// SPDX-License-Identifier: Apache-2.0
/*
 * Do the time stamp counter and polling loops follow virtual time?
 *
 * Prints one line each: the counter's ticks (RDTSC, then RDTSCP) over a sleep of
 * one second; nanoseconds that 1000 system calls take, that 1000 of those that
 * manage memory do, and that 1000 take in a task of the free name; how often a thread could
 * yield until another one's sleep of 10 ms was over; how often a thread had to
 * read the clock until 1 ms was over, and how often it then went back.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static volatile int woke;

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void *sleeper(void *unused)
{
	struct timespec nap = { .tv_nsec = 10000000 };

	nanosleep(&nap, NULL);
	woke = 1;
	return unused;
}

int main(void)
{
	struct timespec second = { .tv_sec = 1 };
	unsigned long long before;
	long long started;
	long yields = 0;
	unsigned cpu;
	pthread_t thread;

	before = __rdtsc();
	nanosleep(&second, NULL);
	printf("rdtsc %llu\n", __rdtsc() - before);
	before = __rdtscp(&cpu);
	nanosleep(&second, NULL);
	printf("rdtscp %llu\n", __rdtscp(&cpu) - before);

	started = now_ns();
	for (int i = 0; i < 1000; i++)
		syscall(SYS_getppid);
	printf("syscalls %lld\n", now_ns() - started);

	started = now_ns();
	for (int i = 0; i < 500; i++)
		munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
	printf("memory %lld\n", now_ns() - started);

	prctl(PR_SET_NAME, "testbed-lab");
	started = now_ns();
	for (int i = 0; i < 1000; i++)
		close(-1);
	printf("free %lld\n", now_ns() - started);
	prctl(PR_SET_NAME, "clocks");

	pthread_create(&thread, NULL, sleeper, NULL);
	while (!woke) {
		sched_yield();
		yields++;
	}
	pthread_join(thread, NULL);
	printf("yields %ld\n", yields);

	/* a loop that waits for the clock to move, without a syscall of its own */
	long polls = 0, steps_back = 0;
	long long now = now_ns(), until = now + 1000000;

	while (now < until) {
		long long next = now_ns();

		steps_back += next < now;
		now = next;
		polls++;
	}
	printf("polls %ld\nsteps_back %ld\n", polls, steps_back);
	return 0;
}
