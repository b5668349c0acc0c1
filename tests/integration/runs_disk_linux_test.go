package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRunsOnAFullDisk: a run whose disk fills up makes no call that it cannot
// record, says what it waits for, and goes on by itself when there is space.
func TestRunsOnAFullDisk(t *testing.T) {
	long(t)
	disk := smallDisk(t)
	g, lab, config := laboratory(t)
	g.data = filepath.Join(disk, "data")
	lab.slow = 30 * time.Millisecond
	g.start(config(0))
	t.Cleanup(g.kill) // before the disk is unmounted
	id := g.startRun(4)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast, 0)
	g.eventually(20*time.Second, "the run waits for the disk", func() bool { return g.runState(id).State == "paused" })
	if run := g.runState(id); run.Error == nil || !strings.Contains(*run.Error, "disk") {
		t.Errorf("it waits, and says %v", run.Error)
	}
	time.Sleep(100 * time.Millisecond)
	before, _ := lab.total()
	time.Sleep(500 * time.Millisecond)
	if after, _ := lab.total(); after != before {
		t.Errorf("%d calls were made that cannot be recorded", after-before)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	g.finished(id)
	if calls, twice := lab.total(); twice != 0 || calls > runBudget {
		t.Errorf("%d calls were made, %d of them twice", calls, twice)
	}
}
