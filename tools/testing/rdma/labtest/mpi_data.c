// SPDX-License-Identifier: GPL-2.0
/*
 * An MPI program for two ranks. Each sends messages to the other and compares
 * every byte that arrives with what the other rank must have sent. Rank 0 prints
 * "data: N messages right" where all were, on both ranks.
 */
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#define ROUNDS 3
#define LARGEST 1048576

/* Short ones, those around a packet and a page, and those sent by rendezvous. */
static const int sizes[] = { 1, 7, 64, 1023, 4095, 4096, 4097, 65536, 100003,
			     LARGEST };

static unsigned char byte_of(int rank, int round, int size, int i)
{
	return rank * 89 + round * 37 + size * 7 + i + (i >> 8) * 13 +
	       (i >> 16) * 5;
}

static bool is_right(const unsigned char *data, int rank, int round, int size)
{
	int i;

	for (i = 0; i < size; i++) {
		if (data[i] == byte_of(rank, round, size, i))
			continue;
		fprintf(stderr, "byte %d of %d from rank %d, round %d: %#x, expected %#x\n",
			i, size, rank, round, data[i],
			byte_of(rank, round, size, i));
		return false;
	}
	return true;
}

static bool exchange(unsigned char *out, unsigned char *in, int rank, int round,
		     int size)
{
	int peer = 1 - rank, i, count;
	MPI_Status status;

	for (i = 0; i < size; i++) {
		out[i] = byte_of(rank, round, size, i);
		in[i] = ~byte_of(peer, round, size, i);
	}
	MPI_Sendrecv(out, size, MPI_BYTE, peer, round, in, size, MPI_BYTE, peer,
		     round, MPI_COMM_WORLD, &status);
	MPI_Get_count(&status, MPI_BYTE, &count);
	return count == size && is_right(in, peer, round, size);
}

int main(int argc, char **argv)
{
	int rank, ranks, round, right = 0, least;
	unsigned char *out, *in;
	size_t i;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	out = malloc(LARGEST);
	in = malloc(LARGEST);
	if (ranks != 2 || !out || !in) {
		fprintf(stderr, "mpi_data: %s\n",
			ranks != 2 ? "start it with two ranks" : "no memory");
		MPI_Abort(MPI_COMM_WORLD, 1);
	}
	for (round = 0; round < ROUNDS; round++)
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			right += exchange(out, in, rank, round, sizes[i]);
	MPI_Allreduce(&right, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
	if (!rank && least == (int)ARRAY_SIZE(sizes) * ROUNDS)
		printf("data: %d messages right\n", least);
	MPI_Finalize();
	return least != (int)ARRAY_SIZE(sizes) * ROUNDS;
}
