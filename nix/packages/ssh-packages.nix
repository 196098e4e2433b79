# What the ssh image's layout takes its programs from: the packages whole, with the names that Debian's have.
{ runCommand, guest }:
let
  # The layout puts sftp-server where this path leads in the image.
  dropbear = guest.compiled.pkgsStatic.dropbear.override { sftpPath = "/usr/lib/sftp-server"; };
  openssh = guest.compiled.pkgsStatic.openssh.override {
    linkOpenssl = false;
    withLdns = false;
  };
in
runCommand "smolvm-ssh-packages-${guest.arch}" { } ''
  mkdir -p $out
  for package in ${dropbear} ${openssh}; do
    cp -r $package/. $out
    chmod -R u+w $out
  done
  mkdir -p $out/usr/sbin $out/usr/bin $out/usr/lib/openssh
  ln -sfn ../../bin/dropbear $out/usr/sbin/dropbear
  ln -sfn ../../bin/dropbearkey $out/usr/bin/dropbearkey
  ln -sfn ../../../libexec/sftp-server $out/usr/lib/openssh/sftp-server
''
