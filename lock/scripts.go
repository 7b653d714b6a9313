package lock

import (
	_ "embed"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed mutex_state.lua
	mutexStateLua string
	//go:embed queue.lua
	queueLua string
	//go:embed heartbeat.lua
	heartbeatLua string
	//go:embed waiters.lua
	waitersLua string

	//go:embed mutex.lua
	mutexLua string
	//go:embed mutex_acquire.lua
	mutexAcquireLua string
	//go:embed mutex_release.lua
	mutexReleaseLua string
	//go:embed mutex_renew.lua
	mutexRenewLua string
	//go:embed mutex_inspect.lua
	mutexInspectLua string
	//go:embed mutex_heartbeat.lua
	mutexHeartbeatLua string
	//go:embed mutex_fast_acquire.lua
	mutexFastAcquireLua string
	//go:embed mutex_fast_release.lua
	mutexFastReleaseLua string
	//go:embed several_acquire.lua
	severalAcquireLua string

	//go:embed shared.lua
	sharedLua string
	//go:embed shared_acquire.lua
	sharedAcquireLua string
	//go:embed shared_release.lua
	sharedReleaseLua string
	//go:embed shared_renew.lua
	sharedRenewLua string
	//go:embed shared_inspect.lua
	sharedInspectLua string
	//go:embed shared_heartbeat.lua
	sharedHeartbeatLua string

	//go:embed fence.lua
	fenceLua string
)

// scriptSet is the scripts of one kind of lock.
type scriptSet struct {
	acquire, release, renew, inspect, heartbeat *script.Script
}

var (
	// mutexScripts are for one mutex.
	mutexScripts = scriptSet{
		acquire:   script.New(mutexStateLua + queueLua + mutexLua + mutexAcquireLua),
		release:   script.New(mutexStateLua + mutexFastReleaseLua + queueLua + mutexLua + mutexReleaseLua),
		renew:     script.New(mutexStateLua + mutexRenewLua),
		inspect:   script.ReadOnly(mutexStateLua + queueLua + mutexLua + waitersLua + mutexInspectLua),
		heartbeat: script.New(mutexStateLua + queueLua + mutexLua + heartbeatLua + mutexHeartbeatLua),
	}

	// severalScripts acquire several mutexes at once. Each mutex is released and renewed as one.
	severalScripts = scriptSet{
		acquire: script.New(mutexStateLua + queueLua + mutexLua + severalAcquireLua),
		release: mutexScripts.release,
		renew:   mutexScripts.renew,
	}

	// sharedScripts are for semaphores and read-write locks.
	sharedScripts = scriptSet{
		acquire:   script.New(mutexStateLua + queueLua + sharedLua + sharedAcquireLua),
		release:   script.New(mutexStateLua + queueLua + sharedLua + sharedReleaseLua),
		renew:     script.New(mutexStateLua + queueLua + sharedLua + sharedRenewLua),
		inspect:   script.ReadOnly(mutexStateLua + queueLua + sharedLua + waitersLua + sharedInspectLua),
		heartbeat: script.New(mutexStateLua + queueLua + sharedLua + heartbeatLua + sharedHeartbeatLua),
	}

	fastAcquireScript = script.New(mutexStateLua + mutexFastAcquireLua)
	fastReleaseScript = script.New(mutexStateLua + mutexFastReleaseLua)
	fenceScript       = script.New(fenceLua)
)
