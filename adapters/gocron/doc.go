// Package redstartgocron makes the schedulers of gocron v2 in several processes run each job once.
//
// # Quick start
//
//	election, err := locker.Election("jobs")
//	if err != nil {
//		return err
//	}
//	elector := redstartgocron.NewElector(election)
//	defer elector.Close()
//	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(elector))
//
// # Elector or Locker
//
// With an [Elector], one process runs all jobs. Another process is elected when the leader ends.
// With a [Locker], each run of a job is in any process, and the lock of the job's name excludes the
// others. Give each job a name with gocron.WithName.
//
// # Limits
//
// gocron does not pass the context of the lock to a job. A job that runs when the lock or the
// leadership is lost continues, and may overlap with another process. A job that writes passes
// Token of [Elector.Held] to its receiver, or uses package lock itself. After a process crashes,
// the lock stays until its lease ends (lock.Options.TTL).
package redstartgocron
