"""HTTP/3 over UDP, beside whichever server speaks TCP; on aioquic."""
