// SPDX-License-Identifier: Apache-2.0
/*
 * Do vector registers survive what a kernel does behind a program's back?
 *
 * Keeps known values in ymm3 and, where the processor has AVX-512, zmm17, over
 * system calls, signal handlers that overwrite both, thread switches, forks and
 * page faults. Prints "signals N ymm_lost N zmm_lost N" and exits 1 if any was.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 100, FORKS = 20, PAGES = 256, PAGE = 4096 };

static volatile int signals, ymm_lost, zmm_lost;
static int has_avx512;

static char *fresh_memory(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

/* Overwrites the registers, and takes page faults while it does. */
static void handler(int signal)
{
	char *p = fresh_memory(16 * PAGE);

	(void)signal;
	signals++;
	memset(p, 1, 16 * PAGE);
	munmap(p, 16 * PAGE);
	if (has_avx512)
		__asm__ volatile("vpxorq %%zmm17, %%zmm17, %%zmm17" ::: "memory");
	__asm__ volatile("vpxor %%ymm3, %%ymm3, %%ymm3" ::: "xmm3");
}

static void check(const unsigned long *wrote, const unsigned long *ymm, const unsigned long *zmm)
{
	if (memcmp(wrote, ymm, 32))
		ymm_lost++;
	if (has_avx512 && memcmp(wrote, zmm, 64))
		zmm_lost++;
}

static void pattern(unsigned long *to, unsigned long seed)
{
	for (int i = 0; i < 8; i++)
		to[i] = 0x9e3779b97f4a7c15UL * (8 * seed + i + 1);
}

/* One system call with both registers in use. */
static long call(long number, long a, long b, long c, unsigned long seed)
{
	unsigned long wrote[8], ymm[4], zmm[8];
	long result = number;

	pattern(wrote, seed);
	/* only now: a function call would not keep them */
	register long rdi __asm__("rdi") = a, rsi __asm__("rsi") = b, rdx __asm__("rdx") = c;

	if (has_avx512)
		__asm__ volatile("vmovdqu64 %[wrote], %%zmm17\n\t"
				 "vmovdqu %[wrote], %%ymm3\n\t"
				 "syscall\n\t"
				 "vmovdqu64 %%zmm17, %[zmm]\n\t"
				 "vmovdqu %%ymm3, %[ymm]"
				 : [zmm] "=m"(zmm), [ymm] "=m"(ymm), "+a"(result)
				 : [wrote] "m"(wrote), "r"(rdi), "r"(rsi), "r"(rdx)
				 : "rcx", "r11", "memory", "xmm3");
	else
		__asm__ volatile("vmovdqu %[wrote], %%ymm3\n\t"
				 "syscall\n\t"
				 "vmovdqu %%ymm3, %[ymm]"
				 : [ymm] "=m"(ymm), "+a"(result)
				 : [wrote] "m"(wrote), "r"(rdi), "r"(rsi), "r"(rdx)
				 : "rcx", "r11", "memory", "xmm3");
	check(wrote, ymm, zmm);
	return result;
}

static void *thread(void *number)
{
	long me = getpid(), tid = syscall(SYS_gettid), seed = (long)number * ROUNDS;
	struct timespec nap = { .tv_nsec = 1000 };

	for (long i = 0; i < ROUNDS; i++) {
		call(SYS_tgkill, me, tid, SIGUSR1, seed + i);
		call(SYS_sched_yield, 0, 0, 0, seed + i);
		call(SYS_nanosleep, (long)&nap, 0, 0, seed + i);
	}
	return NULL;
}

/* Each page is written for the first time by the register itself. */
static void faults(void)
{
	char *p = fresh_memory(PAGES * PAGE);
	unsigned long wrote[8], ymm[4], zmm[8];

	for (int i = 0; i < PAGES; i++) {
		pattern(wrote, i);
		if (has_avx512)
			__asm__ volatile("vmovdqu64 %[wrote], %%zmm17\n\t"
					 "vmovdqu %[wrote], %%ymm3\n\t"
					 "vmovdqu64 %%zmm17, (%[page])\n\t"
					 "vmovdqu64 %%zmm17, %[zmm]\n\t"
					 "vmovdqu %%ymm3, %[ymm]"
					 : [zmm] "=m"(zmm), [ymm] "=m"(ymm)
					 : [wrote] "m"(wrote), [page] "r"(p + i * PAGE)
					 : "memory", "xmm3");
		else
			__asm__ volatile("vmovdqu %[wrote], %%ymm3\n\t"
					 "vmovdqu %%ymm3, (%[page])\n\t"
					 "vmovdqu %%ymm3, %[ymm]"
					 : [ymm] "=m"(ymm)
					 : [wrote] "m"(wrote), [page] "r"(p + i * PAGE)
					 : "memory", "xmm3");
		check(wrote, ymm, zmm);
		if (memcmp(p + i * PAGE, wrote, 32))
			ymm_lost++;
	}
	munmap(p, PAGES * PAGE);
}

static void forks(void)
{
	for (int i = 0; i < FORKS; i++) {
		long child = call(SYS_fork, 0, 0, 0, i);
		int status = 0;

		if (!child)
			_exit(ymm_lost || zmm_lost);
		call(SYS_wait4, child, (long)&status, 0, i);
		if (status)
			ymm_lost++;
		call(SYS_kill, getpid(), SIGUSR1, 0, i);
		faults();
	}
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	pthread_t threads[THREADS];

	has_avx512 = __builtin_cpu_supports("avx512f");
	sigaction(SIGUSR1, &action, NULL);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	forks();
	printf("signals %d ymm_lost %d zmm_lost %d\n", signals, ymm_lost, zmm_lost);
	return ymm_lost || zmm_lost;
}
