// A call's datagrams in ns-3: two ends send each other frames through a relay, over the links of
// testbed/lab/net/topology.py without their jitter. No program runs, nothing is censored, nobody chats.
//
// call SECONDS FRAME_MS DATAGRAM_BYTES ACCESS_MS BACKBONE_MS HOSTING_MS CALLEE_ACCESS_MS RATE_MBPS
// prints how many datagrams arrived.

#include <cstdlib>
#include <iostream>
#include <string>

#include "ns3/core-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/point-to-point-module.h"

using namespace ns3;

namespace
{

const uint16_t PORT = 3478;
int arrived = 0;

Ptr<Socket>
Open(Ptr<Node> node)
{
    Ptr<Socket> socket = Socket::CreateSocket(node, UdpSocketFactory::GetTypeId());
    socket->Bind(InetSocketAddress(Ipv4Address::GetAny(), PORT));
    return socket;
}

void
Hear(Ptr<Socket> socket)
{
    while (socket->Recv())
    {
        arrived++;
    }
}

// The relay hands what one end sent to the other one.
void
PassOn(Ptr<Socket> socket, Ipv4Address caller, Ipv4Address callee)
{
    Address from;
    while (Ptr<Packet> packet = socket->RecvFrom(from))
    {
        bool isCallers = InetSocketAddress::ConvertFrom(from).GetIpv4() == caller;
        packet->RemoveAllPacketTags();
        socket->SendTo(packet, 0, InetSocketAddress(isCallers ? callee : caller, PORT));
    }
}

void
Say(Ptr<Socket> socket, InetSocketAddress relay, uint32_t bytes, Time every, int left)
{
    socket->SendTo(Create<Packet>(bytes), 0, relay);
    if (left > 1)
    {
        Simulator::Schedule(every, &Say, socket, relay, bytes, every, left - 1);
    }
}

} // namespace

int
main(int argc, char* argv[])
{
    if (argc != 9)
    {
        std::cerr << "call: 8 arguments are needed, see its source\n";
        return 2;
    }
    double seconds = std::atof(argv[1]);
    Time frame = MilliSeconds(std::atoi(argv[2]));
    uint32_t bytes = std::atoi(argv[3]);
    Time access = Seconds(std::atof(argv[4]) / 1e3);
    Time backbone = Seconds(std::atof(argv[5]) / 1e3);
    Time hosting = Seconds(std::atof(argv[6]) / 1e3);
    Time calleeAccess = Seconds(std::atof(argv[7]) / 1e3);
    DataRate rate(std::string(argv[8]) + "Mbps");

    enum { CALLER, GATEWAY, ACCESS, MIDDLEBOX, CORE, RELAY, CALLEE_GATEWAY, CALLEE, NODES };
    NodeContainer nodes;
    nodes.Create(NODES);
    InternetStackHelper().Install(nodes);
    Ipv4AddressHelper addresses("10.1.1.0", "255.255.255.252");
    auto link = [&](int left, int right, Time delay, DataRate speed) {
        PointToPointHelper helper;
        helper.SetDeviceAttribute("DataRate", DataRateValue(speed));
        helper.SetChannelAttribute("Delay", TimeValue(delay));
        auto interfaces = addresses.Assign(helper.Install(nodes.Get(left), nodes.Get(right)));
        addresses.NewNetwork();
        return interfaces;
    };
    DataRate lan("10Gbps");
    Ipv4Address caller = link(CALLER, GATEWAY, Time(0), lan).GetAddress(0);
    link(GATEWAY, ACCESS, access, rate);
    link(ACCESS, MIDDLEBOX, Time(0), lan);
    link(MIDDLEBOX, CORE, backbone, lan);
    Ipv4Address relay = link(CORE, RELAY, hosting, lan).GetAddress(1);
    link(CORE, CALLEE_GATEWAY, calleeAccess, rate);
    Ipv4Address callee = link(CALLEE_GATEWAY, CALLEE, Time(0), lan).GetAddress(1);
    Ipv4GlobalRoutingHelper::PopulateRoutingTables();

    Open(nodes.Get(RELAY))->SetRecvCallback([=](Ptr<Socket> socket) {
        PassOn(socket, caller, callee);
    });
    int frames = static_cast<int>(seconds / frame.GetSeconds());
    for (int end : {CALLER, CALLEE})
    {
        Ptr<Socket> socket = Open(nodes.Get(end));
        socket->SetRecvCallback([](Ptr<Socket> heard) { Hear(heard); });
        InetSocketAddress to(relay, PORT);
        Time begin = end == CALLER ? Time(0) : frame / 2;
        Simulator::Schedule(begin, &Say, socket, to, bytes, frame, frames);
    }
    Simulator::Run();
    Simulator::Destroy();
    std::cout << arrived << "\n";
}
