package access

import (
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
)

func limits(l quota.Limits) shard.Change { return shard.Change{Limits: &l} }
