# Runs in the guest: does what it is told over the serial port that Linux made of the device.
# Each command is a line, and each is answered by a line.
set -e
device=0000:00:10.0
node=/sys/bus/pci/devices/$device
driver=/sys/bus/pci/drivers/serial

# Opens the port as descriptor 3: raw, 115200 bits per second, RTS and CTS in use.
open_port() {
    port=$(find "$node/" -name 'ttyS[0-9]*')
    port=${port##*/}
    irq=$(cat "/sys/class/tty/$port/irq")
    exec 3<>"/dev/$port"
    stty -F "/dev/$port" 115200 raw -echo crtscts
}

interrupts() {
    awk -v line="$irq:" '$1 == line { print $2 }' /proc/interrupts
}

tell() {
    echo "$*" >&3
}

checksum() {
    sha256sum <"$1" | cut -d' ' -f1
}

open_port
dmesg | grep "$device: ttyS" || true
echo "guest: the port is $port, interrupt $irq"
tell "ready $port $irq"

while read -r command argument <&3; do
    echo "guest: told to $command $argument"
    case $command in
        say)
            tell "heard: $argument" ;;
        interrupts)
            grep " $port\$" /proc/interrupts
            tell "interrupts $(interrupts)" ;;
        send)
            head -c "$argument" /dev/urandom >/tmp/data
            tell "sum $(checksum /tmp/data)"
            cat /tmp/data >&3
            echo 'guest: sent' ;;
        receive)
            tell go
            head -c "$argument" <&3 >/tmp/data
            tell "sum $(checksum /tmp/data)" ;;
        close)
            tell closing
            exec 3>&-
            echo 'guest: the port is closed'
            sleep 1
            open_port
            tell open ;;
        rebind)
            tell rebinding
            exec 3>&-
            echo "$device" >"$driver/unbind"
            [ ! -e "$node/driver" ]
            [ -z "$(find "$node/" -name 'ttyS[0-9]*')" ]
            echo 'guest: no driver'
            echo "$device" >"$driver/bind"
            open_port
            tell "bound $port $irq" ;;
        reboot)
            tell rebooting
            exec 3>&-
            stty onlcr </dev/console
            reboot -f
            sleep 60
            exit 1 ;;
        end)
            tell ending
            exec 3>&-
            exit 0 ;;
        *)
            tell 'no such command' ;;
    esac
done
echo 'guest: the port hung up'
exit 1
