// Package control is the control store: small records that must survive anything (prompts, aliases, weights, rollout
// status, datasets, runs). It is not for volume; traces have their own store.
//
// Everything is held in memory, so reads never touch the disk and never wait for it. A commit is written twice before
// it is acknowledged, in this order, each time with an fsync:
//
//  1. to Badger, in one transaction with a manifest of ours (revision, number of records, digest of all records);
//  2. to a journal of ours beside it, one checksummed record a commit.
//
// A backup of the whole store, also in a format of ours, is rewritten in the background; the journal continues from it.
// So there are two complete copies that share no code and no file. Open verifies both and serves the one that is whole
// and newest; a copy that is damaged is moved aside and rebuilt from the other. Because the journal is written last, it
// may lag behind Badger by one commit that nobody was told about, but it never leads: a Badger that is older than the
// journal has lost something.
//
// # Layout of a store directory
//
//	LOCK                          who has it open
//	badger-000001/                a Badger database (a generation)
//	backup-00000000000000000120   all records at revision 120; the last two are kept
//	journal-00000000000000000120  commits 121, 122, …
//	damaged-20260102T150405Z/     what was found damaged, with the day it was moved aside
//
// # Badger
//
// Badger writes through memory maps of sparse files, and a page fault that finds no free block is a SIGBUS that kills
// the process. It also panics, on goroutines of its own, when it meets a damaged table. Therefore:
//
//   - every mapped file is given its blocks right after it was created (see allocate), and no write is begun below a
//     floor of free space;
//   - Badger never flushes or compacts while the store is in use. Before a memtable could become full, a new generation
//     is written from memory and the old one is dropped (see Store.regenerate);
//   - every byte that Badger will interpret is checked by our own code before Badger opens it (see inspect), and what
//     it can do without is deleted.
//
// When the disk is too full to open Badger safely the store serves what backup and journal hold, refuses commits with
// ErrNoSpace, and opens Badger with the first commit that finds space.
package control
