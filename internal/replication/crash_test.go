package replication

import (
	"math/rand/v2"
	"sync"

	"kimberlite/internal/disk"
)

// crashes takes clones of a filesystem, as power losses would leave it,
// before and after its syncs.
type crashes struct {
	mem *disk.Mem
	at  func(clone func() *disk.Mem)

	mu  sync.Mutex // lets one clone be taken at a time; guards rng
	rng *rand.Rand
}

func newCrashes(mem *disk.Mem) *crashes {
	return &crashes{mem: mem, rng: rand.New(rand.NewPCG(7, 7))}
}

func (c *crashes) start() {
	hook := func(string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.rng.IntN(3) > 0 {
			return
		}
		c.at(func() *disk.Mem { return c.mem.CrashClone(c.rng) })
	}
	c.mem.BeforeSync(hook)
	c.mem.OnSync(hook)
}

func (c *crashes) stop() {
	c.mem.BeforeSync(nil)
	c.mem.OnSync(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
}
