package pool

import "time"

// CloseIdle closes the connections and SFTP sessions that nobody uses now.
func (p *Pool) CloseIdle() { p.evictIdle(time.Now()) }
